import { useState } from "preact/hooks";
import { useEntities } from "../live.tsx";
import { Failure } from "../parts/failure.tsx";
import { Filter } from "../parts/filter.tsx";
import { Moment } from "../parts/moment.tsx";
import { Search } from "../parts/search.tsx";
import { Status } from "../parts/status.tsx";
import { linkTo } from "../place.ts";
import { RunAndStop } from "./run-and-stop.tsx";

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
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Status</th>
            <th scope="col">Image</th>
            <th scope="col">Last used</th>
            <th scope="col">
              <span class="unseen">Do</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {shown?.map((container) => (
            <tr key={container.id}>
              <td data-label="Name">
                <a href={linkTo("containers", container.id)}>{container.name}</a>
              </td>
              <td data-label="Status">
                <Status status={container.status} />
              </td>
              <td data-label="Image">
                <a href={linkTo("images", container.dockerfile.id)}>
                  <code>{container.dockerImage}</code>
                </a>
              </td>
              <td data-label="Last used">
                <Moment at={container.lastActive} />
              </td>
              <td class="actions">
                <RunAndStop container={container} onDone={again} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {shown?.length === 0 ? (
        <p class="quiet">{containers?.length === 0 ? "No package with a container has been published yet." : "No container is like that."}</p>
      ) : null}
    </>
  );
}
