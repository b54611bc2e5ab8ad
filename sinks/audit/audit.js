// The audit page: which sample is shown, what was said of it, and where that goes.
// Served, each mark is posted and shown as stored once the program says so. As a file, marks are kept here (and in the
// browser's storage, where it has one) until they are downloaded.
"use strict";
(() => {
  const { dataset, rater, served } = document.body.dataset;
  const byId = (id) => document.getElementById(id);
  const samples = [...document.querySelectorAll(".one")];
  const strip = byId("strip"), status = byId("status"), trouble = byId("trouble");
  const noteBox = byId("note-box"), note = byId("note"), raterField = byId("rater");
  const shelf = `reelmill audit ${dataset}`;
  const marks = new Map(); // key -> mark
  const unsaved = new Map(); // key -> mark that is not on disk yet
  let here = 0, sending = false;

  const ask = (sample) => sample.dataset;

  function take(mark) {
    const sample = samples.find((s) => ask(s).key === mark.key && ask(s).text === mark.text_sha256);
    if (sample) marks.set(mark.key, mark);
    return Boolean(sample);
  }

  function recall() {
    for (const { dataset: of } of samples) {
      if (of.judgement) marks.set(of.key, { key: of.key, judgement: of.judgement, note: of.note });
    }
    if (served) return;
    try {
      const kept = JSON.parse(localStorage.getItem(shelf) || '{"marks": [], "unsaved": []}');
      for (const mark of kept.marks) if (take(mark) && kept.unsaved.includes(mark.key)) unsaved.set(mark.key, mark);
    } catch { /* no storage here, or another's words in it: marks are still kept in the page */ }
  }

  function shelve() {
    const kept = { marks: [...marks.values()].filter((m) => m.at), unsaved: [...unsaved.keys()] };
    try { localStorage.setItem(shelf, JSON.stringify(kept)); } catch { /* as above */ }
  }

  function mark(judgement, said = marks.get(ask(samples[here]).key)?.note || "") {
    const { key, text, frames } = ask(samples[here]);
    const made = { key, text_sha256: text, frames: frames.split(" ").filter(Boolean), judgement, note: said, at: new Date().toISOString() };
    marks.set(made.key, made);
    unsaved.set(made.key, made);
    if (served) send(); else shelve();
    show();
  }

  async function send() {
    if (sending) return;
    sending = true;
    while (unsaved.size) {
      const [key, made] = unsaved.entries().next().value;
      const said = { key, text_sha256: made.text_sha256, judgement: made.judgement, note: made.note };
      const why = await posted(said);
      if (why) { trouble.textContent = `${unsaved.size} not stored (${why}). Is the program still running? Trying again.`; break; }
      if (unsaved.get(key) === made) unsaved.delete(key);
      trouble.textContent = "";
      count();
    }
    sending = false;
    if (unsaved.size) { byId("download").hidden = false; setTimeout(send, 1000); }
  }

  async function posted(said) {
    try {
      const answer = await fetch("marks", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said) });
      return answer.ok ? "" : `the program answered ${answer.status}`;
    } catch { return "no answer"; }
  }

  function download() {
    const name = raterField ? raterField.value.trim() : rater;
    if (!name) { trouble.textContent = "Say your name first."; raterField.focus(); return; }
    const whole = { format: 1, dataset, marks: [...marks.values()].filter((m) => m.at).map((m) => ({ ...m, rater: name })) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(whole, null, 1)], { type: "application/json" }));
    link.download = `marks-${dataset.replace(/[^A-Za-z0-9_-]+/g, "_")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    if (!served) { unsaved.clear(); shelve(); trouble.textContent = ""; count(); }
  }

  function count() {
    const said = { right: 0, wrong: 0, unsure: 0 };
    for (const m of marks.values()) said[m.judgement] += 1;
    const done = marks.size;
    const kept = served ? (unsaved.size ? `storing ${unsaved.size}` : "all stored") : (unsaved.size ? `${unsaved.size} not downloaded` : "all downloaded");
    const end = done === samples.length ? (served ? " All are marked: close the page, and end the program with Ctrl-C." : " All are marked: download them.") : "";
    status.textContent = `Sample ${here + 1} of ${samples.length}. ${done} marked: ${said.right} right, ${said.wrong} wrong, ${said.unsure} unsure${done ? `; ${kept}` : ""}.${end}`;
  }

  function show() {
    const judged = marks.get(ask(samples[here]).key)?.judgement;
    for (const button of document.querySelectorAll("[data-mark]")) button.setAttribute("aria-pressed", String(button.dataset.mark === judged));
    byId("add-note").setAttribute("aria-pressed", String(Boolean(marks.get(ask(samples[here]).key)?.note)));
    [...strip.children].forEach((item, i) => {
      const button = item.firstChild, m = marks.get(ask(samples[i]).key);
      button.className = m?.judgement || "";
      button.textContent = m ? m.judgement[0] : "·";
      button.setAttribute("aria-label", `sample ${i + 1}${m ? `, ${m.judgement}` : ""}`);
      if (i === here) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    });
    count();
  }

  function go(place) {
    if (place < 0 || place >= samples.length) return;
    closeNote(false);
    samples[here].hidden = true;
    here = place;
    samples[here].hidden = false;
    samples[here].focus({ preventScroll: true });
    window.scrollTo(0, 0);
    strip.children[here].scrollIntoView({ block: "nearest", inline: "nearest" });
    show();
  }

  function onward() {
    const open = samples.findIndex((s, i) => i > here && !marks.has(ask(s).key));
    if (open >= 0) go(open); else show();
  }

  function openNote() {
    note.value = marks.get(ask(samples[here]).key)?.note || "";
    noteBox.hidden = false;
    note.focus();
  }

  function closeNote(back = true) {
    if (noteBox.hidden) return;
    noteBox.hidden = true;
    const key = ask(samples[here]).key, text = note.value.trim(), before = marks.get(key);
    // a note is kept with a judgement: unsure until one is given
    if (text !== (before?.note || "")) mark(before?.judgement || "unsure", text);
    if (back) samples[here].focus({ preventScroll: true });
  }

  function zoom() {
    const large = byId("zoom").getAttribute("aria-pressed") !== "true";
    byId("zoom").setAttribute("aria-pressed", String(large));
    for (const sample of samples) sample.classList.toggle("large", large);
  }

  function judge(judgement) { closeNote(); mark(judgement); onward(); }

  const keys = {
    r: () => judge("right"), w: () => judge("wrong"), u: () => judge("unsure"), n: openNote, z: zoom,
    arrowleft: () => go(here - 1), arrowright: () => go(here + 1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target === note) { if (event.key === "Escape") closeNote(); return; }
    if (event.target === raterField) return;
    const act = keys[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.mark) judge(button.dataset.mark);
    else if (button.dataset.move) go(here + Number(button.dataset.move));
    else if (button.id === "add-note") { if (noteBox.hidden) openNote(); else closeNote(); }
    else if (button.id === "zoom") zoom();
    else if (button.id === "download") download();
    else if (button.dataset.place) go(Number(button.dataset.place));
  });
  window.addEventListener("beforeunload", (event) => { if (unsaved.size) event.preventDefault(); });

  samples.forEach((_, i) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.dataset.place = String(i);
    item.append(button);
    strip.append(item);
  });
  recall();
  const first = samples.findIndex((s) => !marks.has(ask(s).key));
  go(first < 0 ? 0 : first);
})();
