import { useContext, useState } from "preact/hooks";
import { request, send } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Action, Menu } from "../parts/controls.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { copyText } from "../parts/clipboard.ts";
import { useNotices } from "../parts/notices.tsx";
import { EdgeAddress } from "../edge-address.ts";

/** The API leaves the service's name out for users who may not manage a container. */
export function mayManage({ serviceName }: Pick<Container, "serviceName">): boolean {
  return serviceName !== "";
}

/** Which of the two fits a status. None fits while a container stops. */
export function fittingAction(status: string): "start" | "stop" | undefined {
  if (/^(stopped|error)/.test(status)) return "start";
  return /stop/.test(status) ? undefined : "stop";
}

const ACTION_PATHS = { start: "run", stop: "stop", restart: "restart" } as const;

export type ContainerCommand = keyof typeof ACTION_PATHS;

/** Requests a change of state, and does not wait for it. */
export function requestAction(id: string, action: ContainerCommand): Promise<Container> {
  const path = `/docker/containers/${id}/${ACTION_PATHS[action]}`;
  return action === "restart" ? request(path, { method: "POST" }) : request(path);
}

/** Each button keeps its place: what does not fit the status is disabled. */
export function ContainerActions({ container, onDone }: { container: Container; onDone(): void }) {
  const { id, status, dockerfile, config } = container;
  const [isRemoving, setRemoving] = useState(false);
  const notices = useNotices();
  const fitting = fittingAction(status);
  const act = (action: ContainerCommand) => () => requestAction(id, action).then(onDone);
  const remove = () => {
    setRemoving(false);
    request(`/docker/containers/${id}`, { method: "DELETE" }).then(() => {
      notices.done(`${container.name} is removed.`);
      location.hash = linkTo("containers");
    }, notices.failed);
  };
  const revalidate = () => request(`/docker/images/${dockerfile.id}/revalidate`).then(() => notices.done("The image is validated again."));
  return (
    <div class="tools actions-bar">
      {mayManage(container) ? (
        <>
          <Action act={act("start")} kind={fitting === "start" ? "primary" : undefined} disabled={fitting !== "start"}>
            Start
          </Action>
          <Action act={act("stop")} disabled={fitting !== "stop"}>
            Stop
          </Action>
          <Action act={act("restart")} disabled={status.startsWith("stopped")}>
            Restart
          </Action>
        </>
      ) : null}
      {config["tcp"] === true ? null : <Action act={() => openAtEdge(id)}>Open</Action>}
      <CopyMenu container={container} />
      {mayManage(container) ? (
        <Menu label="More">
          <Action act={revalidate}>Revalidate image</Action>
          <button type="button" class="danger" onClick={() => setRemoving(true)}>
            Remove…
          </button>
        </Menu>
      ) : null}
      {isRemoving ? (
        <ConfirmDialog title={`Remove ${container.name}?`} verb="Remove" onConfirm={remove} onClose={() => setRemoving(false)}>
          <p>berth stops the container and deletes it with its history and logs. It returns when its package is published again.</p>
        </ConfirmDialog>
      ) : null}
    </div>
  );
}

/** Texts for a terminal or a plugin. */
function CopyMenu({ container: { id, name, config, address, port } }: { container: Container }) {
  const edge = useContext(EdgeAddress);
  const notices = useNotices();
  const url = config["tcp"] === true ? `${address ?? ""}:${port ?? ""}` : `${edge ?? ""}/api/docker/containers/proxy/${id}/`;
  const texts: readonly (readonly [label: string, text: string])[] =
    config["tcp"] === true
      ? [["Copy address", url]]
      : [
          ["Copy address", url],
          ["Copy curl command", `curl -H "Authorization: $TOKEN" "${url}"`],
          [
            "Copy JavaScript",
            `const container = await grok.dapi.docker.dockerContainers.filter('name = "${name}"').first();\n` +
              `const response = await grok.dapi.docker.dockerContainers.fetchProxy(container.id, "/");\n`,
          ],
          ["Copy id", id],
        ];
  const copy = (label: string, text: string) =>
    copyText(text).then(
      () => notices.done(`${label.replace("Copy ", "").replace(/^./, (first) => first.toUpperCase())} copied.`),
      () => notices.failed(new Error("The browser refused access to the clipboard.")),
    );
  return (
    <Menu label="Copy">
      {texts.map(([label, text]) => (
        <button key={label} type="button" onClick={() => void copy(label, text)}>
          {label}
        </button>
      ))}
    </Menu>
  );
}

/** Opens the container's page at the edge. The edge is another origin, so this signs the browser in there first, without administration. */
export async function openAtEdge(id: string, target: "_blank" | "_self" = "_blank"): Promise<void> {
  const answer = await send("/console/hand-over", { method: "POST" });
  const { code, action } = (await answer.json()) as { code: string; action: string };
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action, target, rel: "noopener" });
  for (const [name, value] of Object.entries({ code, to: `/api/docker/containers/proxy/${id}/` })) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
