import { request, send } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { Action } from "../parts/controls.tsx";

/** The one button that fits the status of a container; none while it stops. */
export function StartOrStop({ container, onDone }: { container: Container; onDone(): void }) {
  const { id, name, status } = container;
  const requestState = (action: "run" | "stop") => request(`/docker/containers/${id}/${action}`).then(onDone);
  if (/^(stopped|error)/.test(status)) {
    return (
      <Action act={() => requestState("run")}>
        Start<span class="unseen"> {name}</span>
      </Action>
    );
  }
  if (/stop/.test(status)) return null;
  return (
    <Action act={() => requestState("stop")}>
      Stop<span class="unseen"> {name}</span>
    </Action>
  );
}

/** Opens the container's page at the edge. The edge is another origin, so this signs the browser in there first, without administration. */
export function OpenPage({ container }: { container: Container }) {
  return <Action act={() => openAtEdge(container.id)}>Open</Action>;
}

async function openAtEdge(id: string): Promise<void> {
  const answer = await send("/console/hand-over", { method: "POST" });
  const { code, action } = (await answer.json()) as { code: string; action: string };
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action, target: "_blank", rel: "noopener" });
  for (const [name, value] of Object.entries({ code, to: `/api/docker/containers/proxy/${id}/` })) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
