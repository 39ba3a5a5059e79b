// The answers of one person, kept in this browser and saved as a file. There is no network and no library.
"use strict";
(() => {
  const main = document.getElementById("survey");
  const find = (id) => document.getElementById(id);
  const questions = [...main.querySelectorAll("fieldset")];
  const end = find("end");
  const pages = [...questions, end];
  const place = "flow-survey-" + main.dataset.survey;

  const idOf = (question) => question.dataset.question;
  const radios = (question) => [...question.querySelectorAll("input")];
  const now = () => new Date().toISOString();

  // A new participant, who has answered nothing.
  function beginner() {
    const bytes = [...crypto.getRandomValues(new Uint8Array(8))];
    const participant = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return { participant, answers: {}, started: now(), finished: null };
  }

  // What was kept, as far as it fits this page.
  function remembered() {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      if (!/^[0-9a-f]{16}$/.test(kept.participant) || Number.isNaN(Date.parse(kept.started))) return null;
      const answers = {};
      for (const question of questions) {
        const answer = kept.answers[idOf(question)];
        if (radios(question).some((radio) => radio.value === answer)) answers[idOf(question)] = answer;
      }
      return { participant: kept.participant, answers, started: kept.started, finished: kept.finished || null };
    } catch {
      return null; // nothing is kept, or it cannot be read
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
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

  // The link that saves the answers.
  function file() {
    const { participant, answers, started, finished } = state;
    const survey = main.dataset.survey;
    const text = JSON.stringify({ survey, participant, answers, started, finished }, null, 2) + "\n";
    const link = find("download");
    link.href = "data:application/json;charset=utf-8," + encodeURIComponent(text);
    link.download = "answers-" + survey + "-" + participant + ".json";
  }

  function go(to) {
    if (to < 0 || to >= pages.length) return;
    current = to;
    draw();
    pages[current].focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  // The first question without an answer, or the last page.
  function firstOpen() {
    const open = questions.findIndex((question) => !(idOf(question) in state.answers));
    return open < 0 ? questions.length : open;
  }

  // A digit chooses: 1 to 9 a picture, 0 none of them.
  function choose(digit) {
    const all = current < questions.length ? radios(questions[current]) : [];
    const radio = digit === 0 ? all.at(-1) : all.slice(0, -1)[digit - 1];
    if (!radio) return;
    radio.focus();
    answer(questions[current], radio.value);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) go(current + step);
    else if (/^[0-9]$/.test(event.key)) choose(Number(event.key));
    else return;
    event.preventDefault();
  });
  for (const question of questions) {
    question.addEventListener("change", (event) => answer(question, event.target.value));
  }
  find("back").addEventListener("click", () => go(current - 1));
  find("next").addEventListener("click", () => go(current + 1));
  find("again").addEventListener("click", () => {
    if (!confirm("Forget these answers and begin again? Save them first.")) return;
    state = beginner();
    keep();
    go(0);
  });
  // The same survey in another window goes on with the same answers.
  window.addEventListener("storage", (event) => {
    if (event.key !== place) return;
    state = remembered() || state;
    draw();
  });

  let state = remembered() || beginner();
  let current = firstOpen();
  main.hidden = false;
  keep();
  draw();
})();
