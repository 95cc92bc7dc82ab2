// Makes typing a code easier; every page works without it.
const field = document.getElementById("user_code");
if (field) {
  const mask = field.dataset.mask;
  const length = mask.replace(/[^*]/g, "").length;
  const bare = (text) => text.normalize("NFKC").toUpperCase().replace(/[^A-Z0-9]/g, "");
  const shaped = (text) => {
    let out = "", next = 0;
    for (const c of mask) {
      if (next >= text.length) break;
      out += c === "*" ? text[next++] : c;
    }
    return out + text.slice(next);
  };
  let sent = false;
  field.addEventListener("input", (event) => {
    const text = bare(field.value);
    const atEnd = field.selectionStart === field.value.length;
    if (atEnd && !event.isComposing && event.inputType !== "deleteContentBackward") field.value = shaped(text);
    if (text.length === length && atEnd && !event.isComposing && !sent) {
      sent = true; // once: whoever comes back to correct the code submits it by hand
      field.form.requestSubmit();
    }
  });
}
