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

  const paint = () => {
    const text = bare(field.value);
    const at = bare(field.value.slice(0, field.selectionStart ?? field.value.length)).length;
    field.parentElement.classList.toggle("boxed", text.length <= length);
    cells.forEach((cell, i) => {
      cell.textContent = text[i] ?? "";
      cell.classList.toggle("next", document.activeElement === field && i === Math.min(at, length - 1));
    });
  };

  let sent = false;
  field.addEventListener("input", (event) => {
    const text = bare(field.value);
    const atEnd = field.selectionStart === field.value.length;
    if (atEnd && !event.isComposing && event.inputType !== "deleteContentBackward") field.value = shaped(text);
    paint();
    if (text.length === length && atEnd && !event.isComposing && !sent) {
      sent = true; // once: whoever comes back to correct the code submits it by hand
      field.form.requestSubmit();
    }
  });
  field.addEventListener("pointerup", () => field.setSelectionRange(field.value.length, field.value.length));
  for (const event of ["focus", "blur", "keyup"]) field.addEventListener(event, paint);
  document.addEventListener("selectionchange", paint);
  field.setSelectionRange(field.value.length, field.value.length);
  paint();
}
