// What somebody is typing is never taken away: news is let into forms only while nobody fills them. A form is sent once.
"use strict";

function isBusy(forms) {
  const changed = (field) => field.type === "radio" || field.type === "checkbox" ? field.checked !== field.defaultChecked
    : field.tagName === "SELECT" ? field.selectedIndex !== Math.max(0, [...field.options].findIndex((one) => one.defaultSelected))
    : field.type !== "hidden" && field.value !== field.defaultValue;
  const fields = [...forms.querySelectorAll("input, select, textarea")];
  return forms.contains(document.activeElement) || fields.some(changed) || forms.querySelector(".refused") !== null;
}

document.body.addEventListener("htmx:oobBeforeSwap", (event) => {
  const forms = document.getElementById("acts");
  if (event.detail.target !== forms || !forms) return;
  const news = event.detail.fragment.querySelector("#acts");
  const isSame = news !== null && news.dataset.seen === forms.dataset.seen;
  if (!isSame && !isBusy(forms)) return;
  event.detail.shouldSwap = false;
  const moved = forms.querySelector(".moved");
  if (moved) moved.hidden = isSame;
});

document.body.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form.act")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form.act")) delete form.dataset.sent; // back from the next page
});

// One key from everywhere to a call that comes in: browsers do not agree on what an access key needs beside it.
document.addEventListener("keydown", (event) => {
  const call = document.getElementById("take-call");
  if (!call || event.code !== "KeyC" || !event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  call.click();
});
