import type { ComponentChildren } from "preact";
import { request } from "../api-client.ts";
import type { Container } from "../entities.ts";
import { useEntity } from "../live-feed.tsx";
import { Action } from "../parts/controls.tsx";
import { Facts, Failure, Status } from "../parts/display.tsx";
import { Moment } from "../parts/moment.tsx";
import { linkTo } from "../location.ts";
import { Environment, OpenRequestList, ExplanationSection } from "./diagnostics.tsx";
import { Logs } from "./logs.tsx";
import { OpenPage, StartOrStop } from "./container-actions.tsx";
import { History } from "./history.tsx";
import { Starts } from "./starts.tsx";

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
