// Runs in the browser: asks how the start goes, until it is over one way or the other.
"use strict";
{
  const EVERY_MS = 1_000;
  /** Somebody else may try again. */
  const FAILED_EVERY_MS = 5_000;
  /** The wish was lost, or taken back: asking for the page anew wishes again. */
  const MOST_ASLEEP = 5;
  const main = document.querySelector("main");
  const steps = [...document.querySelectorAll("li")];
  let asleep = 0;

  const show = ({ state, step, says, logs }) => {
    main.classList.toggle("failed", state === "failed");
    const status = document.getElementById("says");
    // Said aloud again only where it is something else.
    if (status.textContent !== says) status.textContent = says;
    document.getElementById("logs").textContent = logs.join("\n");
    const at = steps.findIndex(({ dataset }) => dataset.step === step);
    for (const [index, item] of steps.entries()) {
      item.classList.toggle("done", index < at);
      if (index === at) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
  };

  const lookLater = (failed) => setTimeout(look, failed ? FAILED_EVERY_MS : EVERY_MS);

  const look = async () => {
    let progress;
    try {
      const answer = await fetch(location.href, { headers: { "x-berth-progress": "1" }, cache: "no-store" });
      // Signed out, or gone: the page itself says so.
      if (!answer.ok || !answer.headers.get("content-type")?.startsWith("application/json")) return location.reload();
      progress = await answer.json();
    } catch {
      // The way here is broken for the moment.
      return lookLater(false);
    }
    asleep = progress.state === "asleep" ? asleep + 1 : 0;
    if (progress.state === "ready" || asleep > MOST_ASLEEP) return location.reload();
    show(progress);
    lookLater(progress.state === "failed");
  };

  document.querySelector("button").addEventListener("click", () => location.reload());
  lookLater(main.classList.contains("failed"));
}
