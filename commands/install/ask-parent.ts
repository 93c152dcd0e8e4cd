import { existsSync } from "node:fs";
import { request } from "node:http";
import { Fault, type FaultData } from "../../fault.ts";

/** Longer than the first process gives its successor. */
const ANSWER_MS = 400_000;

/** Asks the first process of the berth that runs; undefined where none listens at `path`. Faults: what it answers with; PROGRAM_UNUSABLE. */
export function askParent(path: string, action: "hand-over" | "resume", body: { program?: string } = {}): Promise<{ version?: string } | undefined> {
  if (!existsSync(path)) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: path, path: `/${action}`, method: "POST", agent: false, timeout: ANSWER_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => (text += piece));
      response.once("error", (cause) => reject(broken(cause)));
      response.once("end", () => {
        const body = JSON.parse(text) as { version?: string } & FaultData;
        if (response.statusCode === 200) resolve(body);
        else reject(Fault.from(body));
      });
    });
    sent.once("timeout", () => sent.destroy(new Error(`no answer within ${ANSWER_MS / 1_000} s`)));
    sent.once("error", (cause: NodeJS.ErrnoException) => {
      // A dead process's socket.
      if (cause.code === "ECONNREFUSED" || cause.code === "ENOENT") resolve(undefined);
      else reject(broken(cause));
    });
    sent.end(JSON.stringify(body));
  });
}

function broken(cause: Error): Fault {
  return new Fault("PROGRAM_UNUSABLE", `The berth that runs broke off while it handed over: ${cause.message}.`, { cause });
}
