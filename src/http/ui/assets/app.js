// What a page does beyond reading: loads payloads when they are opened, copies, says that a search takes long, steps
// through errors by key, and tells the server the zone. Without it, every link leads to the same as a page.

const root = document.documentElement;
const words = document.body.dataset;

// The zone of times: the page comes again in the browser's own, once for each zone, because the server may not know it. A page
// without times may be the answer to a form, and does not come again.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
if (root.dataset.zone !== zone) {
  document.cookie = `tz=${encodeURIComponent(zone)}; Path=/ui; Max-Age=31536000; SameSite=Lax`;
  const hasTimes = document.querySelector("time, .plot, .times");
  if (hasTimes && document.cookie.includes("tz=") && isNew(zone)) location.reload();
}

function isNew(zone) {
  try {
    const known = sessionStorage.getItem("zone");
    sessionStorage.setItem("zone", zone);
    return known !== zone;
  } catch {
    return false;
  }
}

// Copying
for (const button of document.querySelectorAll(".copy")) button.hidden = !navigator.clipboard;

async function copy(button) {
  const word = button.textContent;
  try {
    const { text, copy: href } = button.dataset;
    await navigator.clipboard.writeText(text ?? (await fetched(href)));
    button.textContent = words.copied;
  } catch {
    button.textContent = "×";
  }
  setTimeout(() => (button.textContent = word), 1500);
}

async function fetched(href, headers = {}) {
  const answer = await fetch(href, { headers });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.text();
}

// Parts that load when they are opened
async function load(link) {
  const part = link.parentElement;
  const word = link.textContent;
  link.classList.remove("load");
  link.textContent = words.loading;
  try {
    const loaded = document.createElement("div");
    // The server's own markup: every text in it is escaped there, and the page's policy runs no script of it.
    loaded.innerHTML = await fetched(link.href, { "x-part": "1" });
    for (const button of loaded.querySelectorAll(".copy")) button.hidden = !navigator.clipboard;
    part.replaceChildren(loaded);
  } catch {
    link.textContent = `${words.failed} ${word}`;
  }
}

function opened(details) {
  const link = details.querySelector(":scope > .part > a.load");
  // What ran inside an iteration is why it is opened; its own payloads wait for a click.
  if (link && !details.querySelector(":scope > ol")) load(link);
}

document.addEventListener("toggle", ({ target }) => target.open && opened(target), true);
// What failed is open from the start.
for (const details of document.querySelectorAll(".timeline details[open]")) opened(details);

document.addEventListener("click", (event) => {
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  const button = event.target.closest(".copy");
  if (button) return void copy(button);
  const link = event.target.closest("a");
  if (!link || !plain) return;
  if (link.classList.contains("load")) {
    event.preventDefault();
    load(link);
  } else if (link.origin === location.origin && !link.pathname.startsWith("/ui/data/") && !link.hash) {
    busy();
  }
});
document.addEventListener("submit", busy);

// Newer rows are announced, and come when one asks for them.
const newer = document.querySelector("[data-newer]");
if (newer) {
  setInterval(announce, 20000);
  document.addEventListener("visibilitychange", announce);
}

async function announce() {
  if (document.hidden) return;
  const answer = await fetch(newer.dataset.newer).catch(() => null);
  const total = answer?.ok ? (await answer.json()).total : null;
  if (!total?.value) return;
  const link = newer.querySelector("a");
  const text = `${total.exact ? "" : "≥ "}${total.value} ${newer.dataset.word}`;
  if (link.textContent !== text) link.textContent = text;
  link.hidden = false;
}

// A replay says how far it is until it has ended; then the page comes again with what can be done. What can be pressed stays in
// its place meanwhile.
for (const part of document.querySelectorAll("[data-follow]")) follow(part);

async function follow(part) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const told = await fetched(location.href, { "x-part": "1" }).catch(() => null);
    // The link to refresh stays.
    if (told === null) return;
    part.innerHTML = told;
    if (part.querySelector("[data-ended]")) return location.reload();
  }
}

// A search that takes long says so.
let waiting;
function busy() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    root.dataset.busy = "";
    waiting = setTimeout(() => {
      const said = document.createElement("p");
      said.id = "busy";
      said.role = "status";
      said.textContent = words.busy;
      document.body.append(said);
    }, 900);
  }, 150);
}
addEventListener("pageshow", () => {
  clearTimeout(waiting);
  delete root.dataset.busy;
  document.getElementById("busy")?.remove();
});

// Keys: / to the search, n and p to the next and the previous error.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (event.key === "/") {
    const search = document.getElementById("q");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  } else if (event.key === "n" || event.key === "p") {
    const errors = [...document.querySelectorAll(".timeline li.bad > details > summary")];
    const at = errors.indexOf(document.activeElement);
    const next = event.key === "n" ? at + 1 : at < 0 ? errors.length - 1 : at - 1;
    const error = errors[(next + errors.length) % errors.length];
    for (let holder = error?.closest("details"); holder; holder = holder.parentElement.closest("details")) holder.open = true;
    error?.focus();
    error?.scrollIntoView({ block: "center" });
  }
});

// On a narrow screen the filters are closed at first: the rows are what one came for.
if (matchMedia("(max-width: 900px)").matches) document.querySelector(".facets")?.removeAttribute("open");
