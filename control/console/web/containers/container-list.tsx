import { useState } from "preact/hooks";
import { useEntities } from "../live-feed.tsx";
import { Failure } from "../parts/failure.tsx";
import { Filter } from "../parts/filter.tsx";
import { Moment } from "../parts/moment.tsx";
import { Search } from "../parts/search.tsx";
import { Status } from "../parts/status.tsx";
import { Table } from "../parts/table.tsx";
import { linkTo } from "../location.ts";
import { RunAndStop } from "./container-actions.tsx";

/** What people look for, as the beginnings of the statuses that are it; `pending` and the like are on their way. */
const GROUPS: readonly { word: string; holds(status: string): boolean }[] = [
  { word: "all", holds: () => true },
  { word: "awake", holds: (status) => status === "started" },
  { word: "asleep", holds: (status) => status.startsWith("stopped") },
  { word: "on their way", holds: (status) => !/^(started|stopped|error)/.test(status) },
  { word: "failed", holds: (status) => status === "error" },
];

export function ContainerList() {
  const { all: containers, error, again } = useEntities("container");
  const [text, setText] = useState("");
  const [group, setGroup] = useState("all");
  const found = containers?.filter((one) => `${one.name} ${one.friendlyName} ${one.dockerImage}`.toLowerCase().includes(text.toLowerCase()));
  const holds = GROUPS.find(({ word }) => word === group)?.holds ?? (() => true);
  const shown = found?.filter(({ status }) => holds(status));
  return (
    <>
      <h1>Containers</h1>
      <Failure error={error} onRetry={again} />
      <div class="tools">
        <Search label="Search containers" value={text} onChange={setText} />
        <Filter
          label="Show"
          value={group}
          onChange={setGroup}
          choices={GROUPS.map((one) => ({ word: one.word, count: found?.filter(({ status }) => one.holds(status)).length ?? 0 }))}
        />
      </div>
      <Table
        rows={shown ?? []}
        keyOf={({ id }) => id}
        columns={[
          { name: "Name", cell: ({ id, name }) => <a href={linkTo("containers", id)}>{name}</a> },
          { name: "Status", cell: ({ status }) => <Status status={status} /> },
          {
            name: "Image",
            cell: ({ dockerfile, dockerImage }) => (
              <a href={linkTo("images", dockerfile.id)}>
                <code>{dockerImage}</code>
              </a>
            ),
          },
          { name: "Last used", cell: ({ lastActive }) => <Moment at={lastActive} /> },
          { name: "Do", does: true, cell: (container) => <RunAndStop container={container} onDone={again} /> },
        ]}
      />
      {shown?.length === 0 ? (
        <p class="quiet">{containers?.length === 0 ? "No package with a container has been published yet." : "No container is like that."}</p>
      ) : null}
    </>
  );
}
