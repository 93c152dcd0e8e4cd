import { useState } from "preact/hooks";
import type { Repository } from "../entities.ts";
import { Failure } from "../parts/failure.tsx";
import { Search } from "../parts/search.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { linkTo } from "../location.ts";
import { useAsked } from "../use-asked.ts";

const NAME: Column<Repository> = { name: "Repository", cell: ({ name }) => <a href={linkTo("registry", name)}>{name}</a> };
const USED: Column<Repository> = { name: "Used by", cell: ({ containers }) => (containers === 1 ? "1 container" : `${containers} containers`) };

export function RepositoryList({ withContainers }: { withContainers: boolean }) {
  const { value: repositories, error, again } = useAsked<Repository[]>("/docker/registry/repositories");
  const [text, setText] = useState("");
  const shown = repositories?.filter(({ name }) => name.includes(text.toLowerCase()));
  return (
    <>
      <h1>Registry</h1>
      <Failure error={error} onRetry={again} />
      <div class="tools">
        <Search label="Search repositories" value={text} onChange={setText} />
      </div>
      <Table columns={withContainers ? [NAME, USED] : [NAME]} rows={shown ?? []} keyOf={({ name }) => name} />
      {shown?.length === 0 ? (
        <p class="quiet">{repositories?.length === 0 ? "Nothing has been pushed yet." : "No repository is like that."}</p>
      ) : null}
    </>
  );
}
