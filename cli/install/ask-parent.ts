import { existsSync } from "node:fs";
import { request } from "node:http";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { ParentLimits } from "../../processes/parent-socket.ts";

/** Longer than the first process gives its successor. */
const ANSWER_MS = 400_000;
const LIMITS_MS = 5_000;

/** Asks the first process of the berth that runs; undefined where none listens at `path`. Faults: what it answers with; PROGRAM_UNUSABLE. */
export function callParent(path: string, action: "hand-over" | "resume", body: { program?: string } = {}): Promise<{ version?: string } | undefined> {
  return send(path, { method: "POST", path: `/${action}`, timeout: ANSWER_MS }, body);
}

/** The limits of the first process of the berth that runs; undefined where none listens at `path`. Faults: PROGRAM_UNUSABLE. */
export function loadParentLimits(path: string): Promise<Partial<ParentLimits> | undefined> {
  return send(path, { method: "GET", path: "/limits", timeout: LIMITS_MS });
}

function send<Answer extends object>(
  socketPath: string,
  options: { method: string; path: string; timeout: number },
  body?: object,
): Promise<Answer | undefined> {
  if (!existsSync(socketPath)) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, socketPath, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => (text += piece));
      response.once("error", (cause) => reject(broken(cause)));
      response.once("end", () => {
        const answer = JSON.parse(text) as Answer & FaultData;
        if (response.statusCode === 200) resolve(answer);
        else reject(Fault.from(answer));
      });
    });
    sent.once("timeout", () => sent.destroy(new Error(`no answer within ${options.timeout / 1_000} s`)));
    sent.once("error", (cause: NodeJS.ErrnoException) => {
      // A dead process's socket.
      if (cause.code === "ECONNREFUSED" || cause.code === "ENOENT") resolve(undefined);
      else reject(broken(cause));
    });
    sent.end(body && JSON.stringify(body));
  });
}

function broken(cause: Error): Fault {
  return new Fault(
    "PROGRAM_UNUSABLE",
    `The first process of the berth that runs did not complete its answer: ${cause.message}. Its log has the reason.`,
    {
      cause,
    },
  );
}
