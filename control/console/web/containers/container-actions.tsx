import { ask } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { Action } from "../parts/controls.tsx";

/** One button, for what a container in this status can be told; none while it is being stopped. */
export function RunAndStop({ container, onDone }: { container: Container; onDone(): void }) {
  const { id, name, status } = container;
  const tell = (what: "run" | "stop") => ask(`/docker/containers/${id}/${what}`).then(onDone);
  if (/^(stopped|error)/.test(status)) {
    return (
      <Action act={() => tell("run")}>
        Run<span class="unseen"> {name}</span>
      </Action>
    );
  }
  if (/stop/.test(status)) return null;
  return (
    <Action act={() => tell("stop")}>
      Stop<span class="unseen"> {name}</span>
    </Action>
  );
}
