import type { ComponentChildren } from "preact";
import { ask } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { useEntity } from "../live-feed.tsx";
import { Action } from "../parts/controls.tsx";
import { Facts } from "../parts/display.tsx";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { Status } from "../parts/status.tsx";
import { linkTo } from "../location.ts";
import { Environment } from "./environment.tsx";
import { HeldBy } from "./held-by.tsx";
import { Logs } from "./logs.tsx";
import { OpenPage } from "./open-page.tsx";
import { RunAndStop } from "./container-actions.tsx";
import { TimeLine } from "./history.tsx";
import { Wakes } from "./starts.tsx";
import { Why } from "./diagnostics.tsx";

export function ContainerPage({ id }: { id: string }) {
  const { value: container, error, again } = useEntity<Container>("container", id);
  if (!container) return error ? <Failure error={error} onRetry={again} /> : <p class="waiting">Asking…</p>;
  const { dockerfile: image } = container;
  return (
    <>
      <p class="trail">
        <a href={linkTo("containers")}>Containers</a> /
      </p>
      <h1>
        {container.name} <Status status={container.status} />
      </h1>
      <Failure error={error} onRetry={again} />
      <div class="tools">
        <RunAndStop container={container} onDone={again} />
        <OpenPage container={container} />
        <Action act={() => ask(`/docker/images/${image.id}/revalidate`).then(again)}>Revalidate its image</Action>
      </div>
      <Facts
        facts={[
          ["Image", <a href={linkTo("images", image.id)}>{container.dockerImage}</a>],
          ...where(container),
          ["Last used", <Moment at={container.lastActive} />],
          ["Published", <Moment at={container.createdOn} />],
          ["Id", <code>{container.id}</code>],
        ]}
      />
      <Why id={id} turn={container.status} />
      <HeldBy id={id} />
      <Wakes id={id} turn={container.status} />
      <TimeLine path={`/docker/containers/${id}/history`} status={container.status} />
      <Logs id={id} name={container.name} turn={container.status} />
      <Environment variables={container.environmentVars} config={container.config} />
    </>
  );
}

/** Present only for users who may manage it. */
function where({ serviceName, address, port }: Container): [name: string, value: ComponentChildren][] {
  if (serviceName === "") return [];
  return [
    ["Address", address === null ? "none while it sleeps" : `${address}:${port ?? "–"}`],
    ["Service", <code>{serviceName}</code>],
  ];
}
