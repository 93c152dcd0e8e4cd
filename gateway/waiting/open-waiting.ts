import type { Clock } from "../../lib/clock.ts";
import type { Answer, Head } from "../decision.ts";
import type { ContainerView, Directory, Caller } from "../contract.ts";
import { progressOf } from "./progress.ts";
import { type PageFiles, waitingPage } from "./waiting-page.ts";

/** The answer to a browser that goes to a container which is not awake; undefined for every other request, which is held as ever. */
export type Waiting = (head: Head, view: ContainerView, caller: Caller) => Answer | undefined;

/** In which the page asks how the start goes. It may only be set by a script of the same origin, or by one that was permitted. */
const PROGRESS_HEADER = "x-berth-progress";

/** Control's answer is not waited for: the page sees what becomes of it. */
const NEVER = new AbortController().signal;

export function openWaiting({ directory, clock, files }: { directory: Directory; clock: Clock; files: PageFiles }): Waiting {
  const page = waitingPage(files);
  return (head, view, caller) => {
    if (head.method !== "GET" || head.upgrade) return undefined;
    if (head.header(PROGRESS_HEADER) !== undefined) return progressAnswer(view, clock.now());
    const { kind } = view.standing;
    // It runs, and is mostly found to be where it was within a moment.
    if (kind === "coming" && view.standing.step === "check") return undefined;
    if ((kind !== "asleep" && kind !== "coming" && kind !== "failed") || !isNavigation(head)) return undefined;
    const progress = progressOf(view, clock.now());
    if (kind === "asleep" || (progress.state === "failed" && progress.fault === undefined)) {
      directory.wake(view.id, caller, NEVER).catch(() => undefined);
      return page(view, progressOf({ ...view, standing: { kind: "asleep" } }, clock.now()));
    }
    return page(view, progress);
  };
}

/** A person who opens an address or follows a link, and would see an empty window until there is an answer. */
function isNavigation({ header }: Head): boolean {
  return header("sec-fetch-mode") === "navigate" && header("accept")?.includes("text/html") === true;
}

function progressAnswer(view: ContainerView, now: number): Answer {
  const { state, step, says, logs } = progressOf(view, now);
  const body = JSON.stringify({ state, step, says, logs });
  return {
    status: 200,
    reason: "OK",
    headers: [
      ["Content-Type", "application/json"],
      ["Content-Length", String(Buffer.byteLength(body))],
      ["Cache-Control", "no-store"],
    ],
    body,
  };
}
