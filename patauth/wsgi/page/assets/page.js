"use strict";
// The page works without this. It adds copying, help within forms, and times and numbers in the reader's own form.
const all = (query, within = document) => [...within.querySelectorAll(query)];

// -- secrets: first, so that no error in the rest leaves one on the page -------------------------------------------
const secrets = document.querySelector("[data-secrets]");
if (secrets) {
  addEventListener("pagehide", () => all("code", secrets).forEach((code) => { code.textContent = ""; }));
  addEventListener("pageshow", (event) => { if (event.persisted) location.replace(secrets.dataset.secrets); });
}
async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // browsers have a clipboard on https and localhost alone
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  document.querySelector("[data-status]").textContent = done ? button.dataset.done : button.dataset.failed;
}
for (const button of all("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// -- forms ---------------------------------------------------------------------------------------------------
for (const form of all("[data-once]")) {
  form.addEventListener("submit", (event) => {  // a second click would take the place of the first answer
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 5000);  // ms; somebody who stops it may send it again
  });
  addEventListener("pageshow", () => delete form.dataset.sent);
}
for (const tools of all("[data-tools]")) {
  const choices = all(".choice", tools.parentElement), filter = tools.querySelector("[data-filter]");
  tools.hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const choice of choices) choice.hidden = !choice.textContent.toLowerCase().includes(wanted);
  });
  filter.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  tools.querySelector("[data-read-only]").addEventListener("click", () => {
    for (const box of all("[name=scope]", tools.parentElement)) box.checked = box.value.endsWith(":read");
    summarise();
  });
}
function summarise() {
  const summary = document.querySelector("[data-summary]"), form = summary?.closest("form");
  if (!form) return;
  const words = (box) => box.closest(".choice").textContent.trim().replace(/\s+/g, " ");
  const chosen = all("[name=expires_in]:checked", form).map(words).join("");
  const said = {
    name: form.elements.name.value,
    scope: all("[name=scope]:checked", form).map((box) => box.value).join(", "),
    expires_in: form.elements.expires_in.value === "custom" ? `${chosen} ${form.elements.expires_at.value}` : chosen,
    networks: form.elements.networks.value.trim() || summary.dataset.everywhere,
  };
  for (const [name, text] of Object.entries(said)) summary.querySelector(`[data-of=${name}]`).textContent = text || "–";
  summary.hidden = false;
}
document.querySelector("[data-summary]")?.closest("form").addEventListener("input", (event) => {
  if (event.target.name === "expires_at") document.getElementById("custom").checked = true;
  summarise();
});

// -- times and numbers ---------------------------------------------------------------------------------------
const written = document.documentElement.lang, base = (tag) => tag.split("-")[0];
const language = navigator.languages.find((tag) => base(tag) === base(written)) || written;  // en-GB for en
const relative = new Intl.RelativeTimeFormat(language, {numeric: "auto"});
const exact = new Intl.DateTimeFormat(language, {dateStyle: "medium", timeStyle: "short"});
for (const number of all("main data")) number.textContent = Number(number.value).toLocaleString(language);
const DAY = 86400e3, UNITS = [["day", DAY], ["hour", 3600e3], ["minute", 60e3]];
for (const time of all("main time")) {
  const text = time.dateTime || time.textContent, at = Date.parse(text.replace(" ", "T")), away = at - Date.now();
  if (Number.isNaN(at)) continue;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(away) >= 2 * size) || UNITS[2];
  const isDay = text.length === 10;  // of a use, told by days of UTC
  time.dateTime = text;
  time.title = isDay ? text : exact.format(at);
  if ("exact" in time.dataset) time.textContent = exact.format(at);
  else if (isDay) time.textContent = relative.format(at / DAY - Math.floor(Date.now() / DAY), "day");
  else {
    time.textContent = relative.format(Math.round(away / size), unit);
    const both = document.createElement("small");
    both.textContent = time.title;
    time.after(" ", both);
  }
}
summarise();  // with the times as they are now
