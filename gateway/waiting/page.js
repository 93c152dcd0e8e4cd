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

  const show = ({ state, step, says, logs }) => {
    main.classList.toggle("failed", state === "failed");
    const status = document.getElementById("says");
    // Unchanged text is not set again, because screen readers would repeat it.
    if (status.textContent !== says) status.textContent = says;
    document.getElementById("logs").textContent = logs.join("\n");
    const at = steps.findIndex(({ dataset }) => dataset.step === step);
    for (const [index, item] of steps.entries()) {
      item.classList.toggle("done", index < at);
      if (index === at) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
  };

  const requestLater = (failed) => setTimeout(update, failed ? FAILED_EVERY_MS : EVERY_MS);

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

  document.querySelector("button").addEventListener("click", () => location.reload());
  requestLater(main.classList.contains("failed"));
}
