import type { ComponentChildren } from "preact";
import { request, send } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { useEntity } from "../live-feed.tsx";
import { linkTo } from "../location.ts";
import { Action } from "../parts/controls.tsx";
import { Facts, Failure, Moment, Status } from "../parts/display.tsx";
import { Environment, ExplanationSection, History, OpenRequestList, Starts } from "./diagnostics.tsx";
import { Logs } from "./logs.tsx";

export function ContainerPage({ id }: { id: string }) {
  const { value: container, error, reload } = useEntity<Container>("container", id);
  if (!container) return error ? <Failure error={error} onRetry={reload} /> : <p class="waiting">Loading…</p>;
  const { dockerfile: image } = container;
  return (
    <>
      <p class="trail">
        <a href={linkTo("containers")}>Containers</a> /
      </p>
      <h1>
        {container.name} <Status status={container.status} />
      </h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <StartOrStop container={container} onDone={reload} />
        {container.config["tcp"] === true ? null : <OpenPage container={container} />}
        <Action act={() => request(`/docker/images/${image.id}/revalidate`).then(reload)}>Revalidate image</Action>
      </div>
      <Facts
        facts={[
          ["Image", <a href={linkTo("images", image.id)}>{container.dockerImage}</a>],
          ...addressOf(container),
          ...(container.note === null ? [] : ([["Note", container.note]] as const)),
          ["Last used", <Moment at={container.lastActive} />],
          ["Created", <Moment at={container.createdOn} />],
          ["Id", <code>{container.id}</code>],
        ]}
      />
      <ExplanationSection id={id} version={container.status} />
      <OpenRequestList id={id} />
      <Starts id={id} version={container.status} />
      <History path={`/docker/containers/${id}/history`} status={container.status} />
      <Logs id={id} name={container.name} version={`${container.status} ${container.note ?? ""}`} />
      <Environment variables={container.environmentVars} config={container.config} />
    </>
  );
}

/** Present only for users who may manage it; the address of a TCP listener for all. */
function addressOf({ serviceName, address, port }: Container): [name: string, value: ComponentChildren][] {
  if (serviceName === "") return address === null ? [] : [["Address", `${address}:${port ?? "–"}`]];
  return [
    ["Address", address === null ? "none while it is sleeping" : `${address}:${port ?? "–"}`],
    ["Service", <code>{serviceName}</code>],
  ];
}

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
function OpenPage({ container }: { container: Container }) {
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
