import { readFinalStage } from "./dockerfile.ts";

/** The base images of workers that the publishing client generates. */
const WORKER_BASE = /^(?:[^/]+\/)?datagrok\/celery/;
const WORKER_PROGRAM = "celery_node_worker";

/** What the publishing client generates for functions in Python and JavaScript: `celery … worker`, or an image of Datagrok's that runs such a worker. */
export function isQueueWorker({ command, dockerfile }: { command: readonly string[]; dockerfile: string }): boolean {
  if (isWorkerCommand(command.join(" "))) return true;
  if (dockerfile === "") return false;
  const { from = "", entrypoint = "", cmd = "" } = readFinalStage(dockerfile);
  return WORKER_BASE.test(from) || from.includes(WORKER_PROGRAM) || (command.length === 0 && isWorkerCommand(`${entrypoint} ${cmd}`));
}

/** `celery -A tasks worker …`, with any options between, in any form: a shell's line, or JSON. */
function isWorkerCommand(text: string): boolean {
  const words = text.split(/[\s"',[\]\\]+/);
  const celery = words.findIndex((word) => word === "celery" || word.endsWith("/celery"));
  return words.some((word) => word.endsWith(WORKER_PROGRAM)) || (celery !== -1 && words.includes("worker", celery));
}
