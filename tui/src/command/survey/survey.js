// The answers of one person, kept in this browser and saved as a file. There is no network and no library.
"use strict";
(() => {
  const main = document.getElementById("survey");
  const find = (id) => document.getElementById(id);
  const questions = [...main.querySelectorAll("fieldset")];
  // The choices of every question in the page's order. There are as many in each, one for each method.
  const choices = questions.map((question) => [...question.querySelectorAll(".choice")]);
  const end = find("end");
  const pages = [...questions, end];
  const storage = "flow-survey-" + main.dataset.survey;

  const idOf = (question) => question.dataset.question;
  const radios = (question) => [...question.querySelectorAll("input")];
  const now = () => new Date().toISOString();

  // A new participant, who has answered nothing.
  function beginner() {
    const bytes = [...crypto.getRandomValues(new Uint8Array(8))];
    const participant = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return { participant, places: shuffled(), answers: {}, started: now(), finished: null };
  }

  // Which choice of the page's order stands in which place, drawn once for a participant. It is the same for all
  // questions: on the page every method stands in every place as often as in any other, and so it does for everybody.
  function shuffled() {
    const places = choices[0].map((_, index) => index);
    for (let last = places.length - 1; last > 0; last--) {
      const other = crypto.getRandomValues(new Uint32Array(1))[0] % (last + 1);
      [places[last], places[other]] = [places[other], places[last]];
    }
    return places;
  }

  const arePlaces = (kept) =>
    Array.isArray(kept) && kept.length === choices[0].length && choices[0].every((_, index) => kept.includes(index));

  // What was kept, as far as it fits this page.
  function remembered() {
    try {
      const kept = JSON.parse(localStorage.getItem(storage));
      if (!/^[0-9a-f]{16}$/.test(kept.participant) || Number.isNaN(Date.parse(kept.started))) return null;
      const answers = {};
      for (const question of questions) {
        const answer = kept.answers[idOf(question)];
        if (radios(question).some((radio) => radio.value === answer)) answers[idOf(question)] = answer;
      }
      const { participant, started, finished } = kept;
      const places = arePlaces(kept.places) ? kept.places : shuffled();
      return { participant, places, answers, started, finished: finished || null };
    } catch {
      return null; // nothing is kept, or it cannot be read
    }
  }

  function keep() {
    try {
      localStorage.setItem(storage, JSON.stringify(state));
    } catch {
      find("warning").hidden = false;
    }
  }

  const answered = () => Object.keys(state.answers).length;
  const counted = () => answered() + " of " + questions.length + " answered";

  function answer(question, value) {
    if (state.answers[idOf(question)] === value) return;
    state.answers[idOf(question)] = value;
    state.finished = answered() === questions.length ? now() : null;
    keep();
    draw();
  }

  // Puts the choices into this participant's places, and numbers them as they stand. An answer is a choice's id, and
  // knows no place.
  function arrange() {
    for (const all of choices) {
      const placed = state.places.map((index) => all[index]);
      all[0].parentNode.append(...placed);
      placed.forEach((choice, index) => {
        choice.querySelector("img").alt = "Picture " + (index + 1);
        choice.querySelector(".place").textContent = index + 1;
      });
    }
  }

  // The page as the state has it.
  function draw() {
    pages.forEach((page, index) => (page.hidden = index !== current));
    for (const question of questions) {
      for (const radio of radios(question)) radio.checked = state.answers[idOf(question)] === radio.value;
    }
    const where = current < questions.length ? "Question " + (current + 1) + " of " + questions.length + ", " : "";
    find("progress").textContent = where + counted();
    find("bar").value = answered();
    find("back").disabled = current === 0;
    find("next").disabled = pages[current] === end;
    find("left").textContent = answered() === questions.length
      ? "All questions are answered. Thank you!"
      : counted() + ". You can go back to the others, or save what there is.";
    file();
  }

  // The link that saves the answers, and their text for browsers that save nothing.
  function file() {
    const { participant, answers, started, finished } = state;
    const survey = main.dataset.survey;
    const text = JSON.stringify({ survey, participant, answers, started, finished }, null, 2) + "\n";
    const link = find("download");
    link.href = "data:application/json;charset=utf-8," + encodeURIComponent(text);
    link.download = "answers-" + survey + "-" + participant + ".json";
    find("copy").value = text;
  }

  // Whether there is such a page to go to.
  function go(to) {
    if (to < 0 || to >= pages.length) return false;
    current = to;
    find("welcome").hidden = true;
    draw();
    pages[current].focus({ preventScroll: true });
    window.scrollTo(0, 0);
    return true;
  }

  function again() {
    if (!confirm("Forget these answers and begin again? Save them first, on the last page.")) return;
    state = beginner();
    keep();
    arrange();
    go(0);
  }

  // The first question without an answer, or the last page.
  function firstOpen() {
    const open = questions.findIndex((question) => !(idOf(question) in state.answers));
    return open < 0 ? questions.length : open;
  }

  // A digit chooses: 1 to 9 a picture, 0 none of them. Whether there is one to choose.
  function choose(digit) {
    const all = current < questions.length ? radios(questions[current]) : [];
    const radio = digit === 0 ? all.at(-1) : all.slice(0, -1)[digit - 1];
    if (!radio) return false;
    leaveRadios();
    answer(questions[current], radio.value);
    return true;
  }

  // On a radio an arrow chooses its neighbour, as everywhere. Who chose otherwise wants to go on with an arrow, and
  // would change the answer instead.
  function leaveRadios() {
    questions[current].focus({ preventScroll: true });
  }

  // Whether a key means anything here.
  function press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    const isTheirs = event.shiftKey || event.target.matches("input, textarea");
    switch (event.key) {
      case "ArrowLeft":
        return !isTheirs && go(current - 1);
      case "ArrowRight":
        return !isTheirs && go(current + 1);
      default: // digits with the shift key too, as French keyboards have them
        return /^[0-9]$/.test(event.key) && choose(Number(event.key));
    }
  }

  let isPointing = false;
  document.addEventListener("pointerdown", () => (isPointing = true));
  document.addEventListener("keydown", (event) => {
    isPointing = false;
    if (press(event)) event.preventDefault();
  });
  for (const question of questions) {
    question.addEventListener("change", (event) => answer(question, event.target.value));
    question.addEventListener("click", (event) => {
      if (isPointing && event.target.matches("input")) leaveRadios();
    });
  }
  find("back").addEventListener("click", () => go(current - 1));
  find("next").addEventListener("click", () => go(current + 1));
  find("copy").addEventListener("focus", (event) => event.target.select());
  for (const button of main.querySelectorAll(".again")) button.addEventListener("click", again);
  // The same survey in another window goes on with the same answers.
  window.addEventListener("storage", (event) => {
    if (event.key !== storage) return;
    state = remembered() || state;
    arrange();
    draw();
  });

  let state = remembered() || beginner();
  let current = firstOpen();
  main.hidden = false;
  keep();
  arrange();
  draw();
  find("welcome").hidden = answered() === 0;
})();
