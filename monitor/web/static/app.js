// What pages do beyond HTML: local times, a remembered name, forms that are sent once, and word of changes.
"use strict";

(() => {
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  for (const one of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(one.dateTime);
    if (!Number.isNaN(moment.getTime())) one.title = local.format(moment);
  }

  const KEY = "driftwarden-by";
  for (const field of document.querySelectorAll("input[data-remember]")) {
    try {
      field.value = localStorage.getItem(KEY) || "";
      field.addEventListener("change", () => localStorage.setItem(KEY, field.value));
    } catch {
      break; // storage is switched off: the name is typed each time
    }
  }

  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", () => {
      for (const button of form.querySelectorAll("button")) {
        button.disabled = true;
        button.textContent = "Doing it…";
      }
    });
  }
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // back from elsewhere: buttons and states are old
  });

  // One drawer of actions at a time; Escape closes it.
  const drawers = document.querySelectorAll(".actions details");
  for (const drawer of drawers) {
    drawer.addEventListener("toggle", () => {
      if (!drawer.open) return;
      for (const other of drawers) if (other !== drawer) other.open = false;
      drawer.querySelector("input:not([type=hidden]):not([type=checkbox]):not([type=radio]):not([type=number])")?.focus();
    });
    drawer.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      drawer.open = false;
      drawer.querySelector("summary").focus();
    });
  }

  // What is wider than the page is scrolled by the keyboard, too.
  function reach() {
    for (const one of document.querySelectorAll(".scroll, .prose pre")) {
      if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
      else one.removeAttribute("tabindex");
    }
  }
  reach();
  document.addEventListener("toggle", reach, true);
  addEventListener("resize", reach);

  const url = new URL(location.href);
  if (url.searchParams.has("done")) {
    url.searchParams.delete("done");
    history.replaceState(null, "", url);
  }

  const banner = document.getElementById("changed");
  const { last, watch } = document.body.dataset;
  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch("/api/v1/changes", { headers: { accept: "application/json" } });
      if (answer.ok && String((await answer.json()).last) !== last) {
        banner.hidden = false;
        clearInterval(timer);
      }
    } catch {
      // the agent restarts, or the laptop sleeps: the next look tells
    }
  }
  const timer = watch === "yes" ? setInterval(look, 10_000) : 0;
})();
