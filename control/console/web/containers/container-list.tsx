import { useState } from "preact/hooks";
import type { ContainerRow } from "../entities.ts";
import { linkTo, useConsoleQuery } from "../location.ts";
import { Filter, Search, Toggle } from "../parts/controls.tsx";
import { Failure, Loading, Moment, Status } from "../parts/display.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { useScrollPosition, type VirtualColumn, VirtualTable } from "../parts/virtual-table.tsx";
import { BulkActions } from "./bulk-actions.tsx";
import { StartOrStop } from "./start-or-stop.tsx";
import { useContainerRows } from "./use-container-rows.ts";

/** Groups of statuses, as the address and the API name them. A container that a user stopped does not sleep: no request starts it. */
const GROUPS = [
  { group: "running", word: "running" },
  { group: "sleeping", word: "stopped" },
  { group: "moving", word: "starting/stopping" },
  { group: "failed", word: "failed" },
] as const;
const ALL = "all";

const COLUMNS: readonly VirtualColumn<ContainerRow>[] = [
  {
    name: "Name",
    kind: "name",
    sort: "name",
    cell: ({ id, name }) => (
      <a href={linkTo("containers", id)} title={name}>
        {name}
      </a>
    ),
  },
  {
    name: "Status",
    kind: "status-cell",
    sort: "status",
    cell: ({ status, note }) => (
      <span title={note ?? undefined}>
        <Status status={status} />
        {note === null ? null : <small> {note}</small>}
      </span>
    ),
  },
  {
    name: "Image",
    kind: "image",
    cell: ({ imageId, image }) => (
      <a href={linkTo("images", imageId)} title={image}>
        <code>{image}</code>
      </a>
    ),
  },
  { name: "CPU", kind: "number", sort: "cpu", cell: ({ cpu, cpuUse }) => <Used of={cpuUse} reserved={cpu} digits={2} unit="CPU" /> },
  {
    name: "Memory",
    kind: "number",
    sort: "memory",
    cell: ({ memoryMb, memoryUseMb }) => <Used of={memoryUseMb} reserved={memoryMb} digits={0} unit="MB" />,
  },
  { name: "Last used", kind: "time", sort: "lastActive", cell: ({ lastActive }) => <Moment at={lastActive} /> },
];

/** `0.12 of 2`; without a measurement, what is reserved. */
function Used({ of, reserved, digits, unit }: { of: number | null; reserved: number; digits: number; unit: string }) {
  const limit = Number(reserved.toFixed(digits));
  return (
    <span title={of === null ? `${limit} ${unit} reserved` : `${of.toFixed(digits)} of ${limit} ${unit} used`}>
      {of === null ? null : `${of.toFixed(digits)} of `}
      {limit} {unit}
    </span>
  );
}

export function ContainerList() {
  const query = useConsoleQuery();
  const [selected, setSelected] = useState<ReadonlyMap<string, ContainerRow>>(new Map());
  const [search, group, sort, descending, mine] = ["search", "group", "sort", "descending", "mine"].map(query.value);
  const filter = new URLSearchParams(Object.entries({ search, group, mine }).flatMap(([name, value]) => (value ? [[name, value]] : []))).toString();
  const order = new URLSearchParams(Object.entries({ sort, descending }).flatMap(([name, value]) => (value ? [[name, value]] : []))).toString();
  const rows = useContainerRows([filter, order].filter((part) => part !== "").join("&"));
  usePageTitle("Containers");
  useScrollPosition(rows.total !== undefined);

  const select = (row: ContainerRow, isSelected: boolean) =>
    setSelected((before) => {
      const after = new Map(before);
      if (isSelected) after.set(row.id, row);
      else after.delete(row.id);
      return after;
    });
  const columns: readonly VirtualColumn<ContainerRow>[] = [
    {
      name: "Select",
      kind: "select",
      isUnnamed: true,
      cell: (row) =>
        row.mayManage ? (
          <label>
            <input
              type="checkbox"
              aria-label={`Select ${row.name}`}
              checked={selected.has(row.id)}
              onChange={(event) => select(row, event.currentTarget.checked)}
            />
          </label>
        ) : null,
    },
    ...COLUMNS,
    {
      name: "Actions",
      kind: "actions",
      isUnnamed: true,
      cell: (row) => (row.mayManage ? <StartOrStop container={row} onDone={rows.refresh} /> : null),
    },
  ];
  const { total, groups } = rows;
  const all = groups && Object.values(groups).reduce((sum, count) => sum + count, 0);
  return (
    <>
      <h1>Containers</h1>
      <Failure error={rows.error} onRetry={rows.reload} />
      <div class="tools">
        <Search label="Search containers" value={search ?? ""} onChange={(value) => query.set({ search: value })} />
        <Filter
          label="Show"
          value={GROUPS.find((one) => one.group === group)?.word ?? ALL}
          onChange={(word) => query.set({ group: GROUPS.find((one) => one.word === word)?.group ?? "" })}
          choices={[{ word: ALL, count: all }, ...GROUPS.map((one) => ({ word: one.word, count: groups?.[one.group] }))]}
        />
        <Toggle label="Mine" value={mine === "true"} onChange={(value) => query.set({ mine: value ? "true" : "" })} />
      </div>
      <BulkActions selected={selected} filter={filter} total={total ?? 0} onSelect={setSelected} onDone={rows.reload} />
      {total === undefined ? (
        rows.error ? null : (
          <Loading />
        )
      ) : total === 0 ? (
        <p class="quiet">
          {all === 0 && filter === ""
            ? "No containers. Publish a package with a Dockerfile to add one."
            : "No containers match. Change the search or the filter."}
        </p>
      ) : (
        <VirtualTable
          label="Containers"
          columns={columns}
          total={total}
          rowAt={rows.rowAt}
          keyOf={({ id }) => id}
          onView={rows.show}
          sort={{
            by: sort === "" || sort === undefined ? "name" : sort,
            descending: descending === "true",
            onChange: (by, isDescending) => query.set({ sort: by === "name" ? "" : by, descending: isDescending ? "true" : "" }),
          }}
        />
      )}
    </>
  );
}
