// Makes typing a code easier; every page works without it. The field stays one
// field, for paste, screen readers and password managers: the boxes only show
// what is in it.
const field = document.getElementById("user_code");
if (field) {
  const mask = [...field.dataset.mask];
  const length = mask.filter((c) => c === "*").length;
  const bare = (text) => text.normalize("NFKC").toUpperCase().replace(/[^\p{L}\p{N}]/gu, "");
  const shaped = (text) => {
    let out = "", next = 0;
    for (const c of mask) {
      if (next >= text.length) break;
      out += c === "*" ? text[next++] : c;
    }
    return out + text.slice(next);
  };

  const boxes = document.createElement("span");
  boxes.className = "boxes";
  boxes.setAttribute("aria-hidden", "true");
  for (const c of mask) {
    const box = document.createElement("span");
    box.className = c === "*" ? "box" : "gap";
    if (c !== "*") box.textContent = c;
    boxes.append(box);
  }
  const cells = [...boxes.querySelectorAll(".box")];
  field.parentElement.append(boxes);

  const hint = document.getElementById("auto"); // WCAG 2.2 §3.2.2: said before it happens
  hint.hidden = false;
  field.setAttribute("aria-describedby", [field.getAttribute("aria-describedby"), hint.id].filter(Boolean).join(" "));

  const paint = () => {
    const text = bare(field.value);
    const before = (end) => bare(field.value.slice(0, end)).length;
    const at = before(field.selectionStart), to = before(field.selectionEnd);
    field.parentElement.classList.toggle("boxed", text.length <= length);
    cells.forEach((cell, i) => {
      cell.textContent = text[i] ?? "";
      const focused = document.activeElement === field;
      cell.classList.toggle("next", focused && i === Math.min(at, length - 1));
      cell.classList.toggle("chosen", focused && i >= at && i < to);
    });
  };

  // What an address filled in stays an address's until the field was empty.
  const form = document.getElementById("form");

  let sent = false;
  field.addEventListener("input", (event) => {
    const text = bare(field.value);
    if (text === "" && form) form.value = form.dataset.typed;
    const atEnd = field.selectionStart === field.value.length;
    if (atEnd && !event.isComposing && event.inputType !== "deleteContentBackward") field.value = shaped(text);
    paint();
    if (text.length === length && atEnd && !event.isComposing && !sent) {
      sent = true; // once: whoever comes back to correct the code submits it by hand
      field.form.requestSubmit();
    }
  });
  // A click on a box is meant for that box: the text in the field lies elsewhere.
  field.addEventListener("click", (event) => {
    if (field.selectionStart !== field.selectionEnd || !field.parentElement.matches(".boxed")) return;
    const hit = cells.findIndex((cell) => event.clientX <= cell.getBoundingClientRect().right);
    const letters = [...field.value.matchAll(/[\p{L}\p{N}]/gu)].map((letter) => letter.index);
    const start = letters[hit] ?? field.value.length;
    field.setSelectionRange(start, Math.min(start + 1, field.value.length));
  });
  for (const event of ["focus", "blur", "keyup"]) field.addEventListener(event, paint);
  document.addEventListener("selectionchange", paint);
  field.setSelectionRange(field.value.length, field.value.length);
  paint();
}

// A decision wakes half a second after its page shows, or its window comes to the
// front: a click that was meant for what was there before must not decide. The
// buttons keep the focus meanwhile, which `disabled` would take from them, so that
// whoever comes back by the keyboard goes on where they were. Without scripts they
// work at once.
const decisions = document.querySelectorAll(".answers button");
if (decisions.length > 0) {
  let asleep, waking, early = false;
  const set = (sleeps) => {
    asleep = sleeps;
    for (const button of decisions) button.setAttribute("aria-disabled", sleeps);
  };
  const sleep = () => {
    clearTimeout(waking);
    set(true);
    if (document.visibilityState === "visible") waking = setTimeout(set, 500, false);
  };
  // A press that began too early is no decision either, however late it ends.
  for (const button of decisions) {
    for (const event of ["pointerdown", "keydown"]) button.addEventListener(event, () => { early = asleep; });
  }
  // Whatever submits the form: a click, a key on a button, or one in a field.
  decisions[0].form?.addEventListener("submit", (event) => {
    if (asleep || early) event.preventDefault();
    early = false;
  });
  for (const event of ["pageshow", "focus"]) window.addEventListener(event, sleep);
  document.addEventListener("visibilitychange", sleep);
  sleep();
}
