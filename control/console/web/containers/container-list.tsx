import { useState } from "preact/hooks";
import { useEntities } from "../live-feed.tsx";
import { linkTo } from "../location.ts";
import { Filter, Search } from "../parts/controls.tsx";
import { Failure, Moment, Status, Table } from "../parts/display.tsx";
import { StartOrStop } from "./start-or-stop.tsx";

/** Groups of statuses. */
const GROUPS: readonly { word: string; includes(status: string): boolean }[] = [
  { word: "all", includes: () => true },
  { word: "running", includes: (status) => status === "started" },
  { word: "sleeping", includes: (status) => status.startsWith("stopped") },
  { word: "starting or stopping", includes: (status) => !/^(started|stopped|error)/.test(status) },
  { word: "failed", includes: (status) => status === "error" },
];

export function ContainerList() {
  const { all: containers, error, reload } = useEntities("container");
  const [text, setText] = useState("");
  const [group, setGroup] = useState("all");
  const matching = containers?.filter((one) => `${one.name} ${one.friendlyName} ${one.dockerImage}`.toLowerCase().includes(text.toLowerCase()));
  const includes = GROUPS.find(({ word }) => word === group)?.includes ?? (() => true);
  const shown = matching?.filter(({ status }) => includes(status));
  return (
    <>
      <h1>Containers</h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search containers" value={text} onChange={setText} />
        <Filter
          label="Show"
          value={group}
          onChange={setGroup}
          choices={GROUPS.map((one) => ({ word: one.word, count: matching?.filter(({ status }) => one.includes(status)).length ?? 0 }))}
        />
      </div>
      <Table
        rows={shown ?? []}
        keyOf={({ id }) => id}
        columns={[
          { name: "Name", cell: ({ id, name }) => <a href={linkTo("containers", id)}>{name}</a> },
          {
            name: "Status",
            cell: ({ status, note }) => (
              <>
                <Status status={status} /> {note && <small>{note}</small>}
              </>
            ),
          },
          {
            name: "Image",
            cell: ({ dockerfile, dockerImage }) => (
              <a href={linkTo("images", dockerfile.id)}>
                <code>{dockerImage}</code>
              </a>
            ),
          },
          { name: "Last used", cell: ({ lastActive }) => <Moment at={lastActive} /> },
          { name: "Actions", isAction: true, cell: (container) => <StartOrStop container={container} onDone={reload} /> },
        ]}
      />
      {shown?.length === 0 ? (
        <p class="quiet">
          {containers?.length === 0
            ? "No containers. Publish a package with a Dockerfile to add one."
            : "No container matches. Change the search or the group."}
        </p>
      ) : null}
    </>
  );
}
