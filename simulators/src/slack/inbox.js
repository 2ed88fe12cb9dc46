// Keeps the page current without a reload, and without moving what the reader looks at.
"use strict";

const messages = document.getElementById("messages");
let shown;

function localTimes() {
  for (const time of messages.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = moment.toLocaleString();
  }
}

async function refresh() {
  if (document.hidden) return;
  let html;
  try {
    const response = await fetch("/messages");
    if (!response.ok) return;
    html = await response.text();
  } catch {
    return; // The simulator is away: what is on the page stays.
  }
  if (html === shown) return;
  shown = html;
  const height = document.documentElement.scrollHeight;
  messages.innerHTML = html; // Escaped by the server, and the policy allows no script in it.
  localTimes();
  // New messages come in at the top.
  if (window.scrollY > 0) window.scrollBy(0, document.documentElement.scrollHeight - height);
}

document.getElementById("clear").addEventListener("click", async () => {
  await fetch("/api/messages", { method: "DELETE" });
  await refresh();
});
document.addEventListener("visibilitychange", refresh);
localTimes();
setInterval(refresh, 2000);
