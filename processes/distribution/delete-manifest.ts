import { request } from "node:http";
import { Fault } from "../../lib/fault.ts";

const ANSWER_MS = 60_000;

/**
 * Deletes an image by its digest, and with it all of its tags; one that is not there is deleted already. Its layers stay until garbage is
 * collected. Faults: REGISTRY_FAILED, REGISTRY_BUSY while garbage is collected.
 */
export function deleteManifest(socketPath: string, repository: string, digest: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (why: string, cause?: unknown) =>
      reject(new Fault("REGISTRY_FAILED", `${repository}@${digest} cannot be deleted: ${why}.`, { cause }));
    const path = `/v2/${repository}/manifests/${digest}`;
    const sent = request({ socketPath, path, method: "DELETE", agent: false, timeout: ANSWER_MS }, (answer) => {
      answer.resume();
      if (answer.statusCode === 202 || answer.statusCode === 404) return resolve();
      if (answer.statusCode === 405)
        return reject(new Fault("REGISTRY_BUSY", "Garbage is being collected, so nothing can be deleted: try again after that."));
      failed(`the registry answered ${answer.statusCode}`);
    });
    sent.once("timeout", () => sent.destroy(new Error("no answer")));
    sent.once("error", (cause) => failed(cause.message, cause));
    sent.end();
  });
}
