import { useState } from "preact/hooks";
import type { Repository } from "../entities.ts";
import { Failure } from "../parts/failure.tsx";
import { Search } from "../parts/search.tsx";
import { linkTo } from "../place.ts";
import { useAsked } from "../use-asked.ts";

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
      <table>
        <thead>
          <tr>
            <th scope="col">Repository</th>
            {withContainers ? <th scope="col">Used by</th> : null}
          </tr>
        </thead>
        <tbody>
          {shown?.map(({ name, containers }) => (
            <tr key={name}>
              <td data-label="Repository">
                <a href={linkTo("registry", name)}>{name}</a>
              </td>
              {withContainers ? <td data-label="Used by">{containers === 1 ? "1 container" : `${containers} containers`}</td> : null}
            </tr>
          ))}
        </tbody>
      </table>
      {shown?.length === 0 ? (
        <p class="quiet">{repositories?.length === 0 ? "Nothing has been pushed yet." : "No repository is like that."}</p>
      ) : null}
    </>
  );
}
