// Runs in the browser: requests the progress of the start until it has succeeded or failed.
"use strict";
{
  const EVERY_MS = 1_000;
  /** Another user may retry the start. */
  const FAILED_EVERY_MS = 5_000;
  /** The request to start was lost or withdrawn: reloading the page sends it again. */
  const MAX_ASLEEP = 5;
  const main = document.querySelector("main");
  const steps = [...document.querySelectorAll("li")];
  let asleep = 0;

  const bar = document.querySelector("progress");
  const elapsed = document.getElementById("elapsed");
  const began = performance.now();

  const show = ({ state, step, says, pull, usualMs, logs }) => {
    main.classList.toggle("failed", state === "failed");
    const status = document.getElementById("says");
    // Unchanged text is not set again, because screen readers would repeat it.
    if (status.textContent !== says) status.textContent = says;
    document.getElementById("logs").textContent = logs.join("\n");
    if (pull && pull.total > 0) {
      bar.max = pull.total;
      bar.value = pull.done;
    } else bar.removeAttribute("value");
    if (usualMs !== undefined) document.getElementById("usual").textContent = `The last start took ${Math.max(1, Math.round(usualMs / 1_000))} s.`;
    const at = steps.findIndex(({ dataset }) => dataset.step === step);
    for (const [index, item] of steps.entries()) {
      item.classList.toggle("done", index < at);
      if (index === at) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
  };

  const requestLater = (failed) => setTimeout(() => void update(), failed ? FAILED_EVERY_MS : EVERY_MS);

  const update = async () => {
    let progress;
    try {
      const response = await fetch(location.href, { headers: { "x-berth-progress": "1" }, cache: "no-store" });
      // The user is signed out, or the container is gone: the reloaded page shows it.
      if (!response.ok || !response.headers.get("content-type")?.startsWith("application/json")) return location.reload();
      progress = await response.json();
    } catch {
      // The connection failed; try again.
      return requestLater(false);
    }
    asleep = progress.state === "asleep" ? asleep + 1 : 0;
    if (progress.state === "ready" || asleep > MAX_ASLEEP) return location.reload();
    show(progress);
    requestLater(progress.state === "failed");
  };

  setInterval(() => {
    elapsed.textContent = main.classList.contains("failed") ? "" : `${Math.round((performance.now() - began) / 1_000)} s so far.`;
  }, EVERY_MS);
  document.querySelector("a").addEventListener("click", (event) => {
    event.preventDefault();
    location.reload();
  });
  requestLater(main.classList.contains("failed"));
}
