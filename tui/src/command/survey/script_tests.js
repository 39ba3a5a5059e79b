// What the page's script does, held by `node script_tests.js PAGE` in as much of a browser as the script asks for.
"use strict";
const assert = require("node:assert");
const { readFileSync } = require("node:fs");

const html = readFileSync(process.argv[2], "utf8");

// An element as the script uses one.
class Element {
  constructor(tag, attributes, parentNode) {
    Object.assign(this, { tag, attributes, parentNode, children: [], listeners: {}, textContent: "" });
    const { id, value, alt } = attributes;
    Object.assign(this, { id, value, alt, hidden: "hidden" in attributes, checked: false });
    this.dataset = { survey: attributes["data-survey"], question: attributes["data-question"] };
  }
  matches(selector) {
    const classes = (this.attributes.class || "").split(" ");
    const one = (name) => (name.startsWith(".") ? classes.includes(name.slice(1)) : this.tag === name);
    return selector.split(", ").some(one);
  }
  all() {
    return this.children.flatMap((child) => [child, ...child.all()]);
  }
  querySelectorAll(selector) {
    return this.all().filter((element) => element.matches(selector));
  }
  querySelector(selector) {
    return this.querySelectorAll(selector)[0];
  }
  append(...added) {
    this.children = [...this.children.filter((child) => !added.includes(child)), ...added];
  }
  addEventListener(kind, listener) {
    (this.listeners[kind] ||= []).push(listener);
  }
  focus() {
    Element.focused = this;
  }
  // Tells this element and all around it; whether the default still happens.
  tell(kind, more = {}) {
    let isPrevented = false;
    const event = { target: this, preventDefault: () => (isPrevented = true), ...more };
    for (let at = this; at; at = at.parentNode) (at.listeners[kind] || []).forEach((listener) => listener(event));
    return !isPrevented;
  }
}

// The page's elements, from the HTML that maud writes: everything is closed, and `>` in text is escaped.
function parsed(text) {
  const root = new Element("document", {}, null);
  let at = root;
  for (const [, close, tag, inside] of text.matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/g)) {
    if (close) {
      at = at.parentNode;
      continue;
    }
    const pairs = [...inside.matchAll(/ ([a-z-]+)(?:="([^"]*)")?/g)].map(([, name, value]) => [name, value ?? ""]);
    const element = new Element(tag, Object.fromEntries(pairs), at);
    at.append(element);
    if (!["meta", "img", "input"].includes(tag)) at = element;
  }
  return root;
}

// Opens the page in a browser that remembers what is in `kept`.
function open(kept) {
  const script = html.match(/<script>([^]*)<\/script>/)[1];
  const document = parsed(html.replace(/<script>[^]*<\/script>|<style>[^]*?<\/style>/g, ""));
  document.getElementById = (id) => document.all().find((element) => element.id === id);
  const window = new Element("window", {}, null);
  window.scrollTo = () => {};
  const localStorage = { getItem: (name) => kept[name] ?? null, setItem: (name, text) => (kept[name] = text) };
  const names = ["document", "window", "localStorage", "confirm", "crypto"];
  new Function(...names, script)(document, window, localStorage, () => true, require("node:crypto").webcrypto);
  const find = document.getElementById;
  const questions = document.querySelectorAll("fieldset");
  const key = (name, more = {}) => (more.on || document).tell("keydown", { key: name, ...more });
  return { kept, find, questions, key, document, copy: () => JSON.parse(find("copy").value) };
}

const ids = (question) => question.querySelectorAll("input").map((radio) => radio.value);
const orders = (page) => page.questions.map(ids);
// In which places of the page's order the choices stand that are shown.
const places = (page) => {
  const written = open({ [Object.keys(page.kept)[0]]: keptWith([0, 1, 2]) });
  return page.questions.map((question, index) =>
    ids(question).slice(0, -1).map((id) => ids(written.questions[index]).indexOf(id)).join(""));
};
const keptWith = (places) => JSON.stringify({
  participant: "0123456789abcdef", places, answers: {}, started: "2026-11-23T10:00:00.000Z", finished: null,
});
const press = (page, radio, pointer) => {
  if (pointer) radio.tell("pointerdown");
  radio.focus();
  radio.tell("click");
  radio.tell("change");
};

const claims = {
  "the order is the same in all questions and after a reload, and another for another participant"() {
    const kept = {};
    const page = open(kept);
    assert.strictEqual(new Set(places(page)).size, 1);
    assert.deepStrictEqual(orders(open(kept)), orders(page));
    const drawn = Array.from({ length: 200 }, () => places(open({}))[0]);
    assert.deepStrictEqual([...new Set(drawn)].sort(), ["012", "021", "102", "120", "201", "210"]);
  },
  "choices are numbered as they stand, and none of them comes last"() {
    for (let times = 0; times < 9; times++) {
      for (const question of open({}).questions) {
        const numbers = question.querySelectorAll(".place").map((place) => Number(place.textContent));
        const names = question.querySelectorAll("img").map((picture) => picture.alt);
        assert.deepStrictEqual([numbers, names], [[1, 2, 3], ["Picture 1", "Picture 2", "Picture 3"]]);
        assert.strictEqual(ids(question).at(-1), "neither");
      }
    }
  },
  "a digit chooses the picture that bears it, wherever the page has it"() {
    for (let times = 0; times < 9; times++) {
      const page = open({});
      const shown = ids(page.questions[0]);
      for (const [digit, id] of [["1", shown[0]], ["3", shown[2]], ["0", "neither"], ["9", "neither"]]) {
        page.key(digit, { on: page.questions[0] });
        const { answers } = page.copy();
        assert.deepStrictEqual(answers, { [page.questions[0].dataset.question]: id });
      }
    }
  },
  "kept places that are none are drawn again, and the answers stay"() {
    const page = open({});
    page.key("1", { on: page.questions[0] });
    const [name, text] = Object.entries(page.kept)[0];
    for (const broken of [undefined, null, [0, 1], [0, 1, 1], [0, 1, 2, 3], "012", [1, 2, 3]]) {
      const kept = { [name]: JSON.stringify({ ...JSON.parse(text), places: broken }) };
      assert.deepStrictEqual(open(kept).copy().answers, page.copy().answers);
      assert.strictEqual([...JSON.parse(kept[name]).places].sort().join(""), "012");
    }
  },
  "arrows go to another question, but not on a radio, in a text or with a key held"() {
    const page = open({});
    const shown = () => page.questions.findIndex((question) => !question.hidden);
    const radio = page.questions[0].querySelector("input");
    for (const more of [{ on: radio }, { on: page.find("copy") }, { shiftKey: true }, { ctrlKey: true },
      { altKey: true }, { metaKey: true }]) {
      assert.ok(page.key("ArrowRight", { on: page.questions[0], ...more }), "the browser does what it does");
      assert.strictEqual(shown(), 0);
    }
    assert.ok(!page.key("ArrowRight", { on: page.questions[0] }));
    assert.strictEqual(shown(), 1);
    page.key("ArrowLeft", { on: page.questions[1] });
    assert.strictEqual(shown(), 0);
    assert.ok(page.key("ArrowLeft", { on: page.questions[0] }), "there is nothing before the first one");
  },
  "who chose with the pointer or a digit leaves the radio, and who chose with an arrow stays"() {
    const page = open({});
    const [first, second] = page.questions[0].querySelectorAll("input");
    press(page, first, true);
    assert.strictEqual(Element.focused, page.questions[0]);
    page.key("ArrowDown", { on: first });
    press(page, second, false);
    assert.strictEqual(Element.focused, second);
    page.key("1", { on: second });
    assert.strictEqual(Element.focused, page.questions[0]);
    assert.deepStrictEqual(Object.values(page.copy().answers), [first.value]);
  },
  "the text to copy is the file to save"() {
    const page = open({});
    page.key("2", { on: page.questions[0] });
    const link = page.find("download");
    const file = decodeURIComponent(link.href.slice(link.href.indexOf(",") + 1));
    assert.strictEqual(page.find("copy").value, file);
    const { survey, participant, ...rest } = page.copy();
    assert.strictEqual(link.download, "answers-" + survey + "-" + participant + ".json");
    assert.deepStrictEqual(Object.keys(rest), ["answers", "started", "finished"]);
  },
  "who finds another's answers is told so at the start, and may begin again"() {
    const kept = {};
    const page = open(kept);
    assert.ok(page.find("welcome").hidden, "there is nothing to remember");
    page.key("1", { on: page.questions[0] });
    assert.ok(page.find("welcome").hidden, "these are one's own");
    const later = open(kept);
    assert.ok(!later.find("welcome").hidden);
    later.find("welcome").querySelector(".again").tell("click");
    assert.ok(later.find("welcome").hidden);
    assert.deepStrictEqual(later.copy().answers, {});
    assert.notStrictEqual(later.copy().participant, page.copy().participant);
    assert.ok(open(kept).find("welcome").hidden);
  },
};

let failed = 0;
for (const [claim, holds] of Object.entries(claims)) {
  try {
    holds();
    console.log("ok: " + claim);
  } catch (error) {
    failed += 1;
    console.log("FAILED: " + claim + "\n" + error.stack);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
