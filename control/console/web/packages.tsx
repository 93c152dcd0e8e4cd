import { useState } from "preact/hooks";
import { request, RequestError, useRequest } from "./api-client.ts";
import type { Package, PackageVersion, PackageVersions } from "./entities.ts";
import { linkTo, useConsoleQuery } from "./location.ts";
import { Action, Search } from "./parts/controls.tsx";
import { ConfirmDialog } from "./parts/dialog.tsx";
import { type Column, Failure, Loading, Moment, Section, Table } from "./parts/display.tsx";
import { useNotices } from "./parts/notices.tsx";
import { usePageTitle } from "./parts/page-title.ts";

const PAGE = 100;

const PACKAGE_COLUMNS: readonly Column<Package>[] = [
  { name: "Package", cell: ({ name }) => <a href={linkTo("packages", name)}>{name}</a> },
  { name: "Version", cell: ({ version }) => version },
  { name: "Author", cell: ({ author }) => author },
  { name: "Published", cell: ({ updatedOn }) => <Moment at={updatedOn} /> },
];

/** Published packages, a page at a time; the server searches. */
export function PackageList() {
  usePageTitle("Packages");
  const query = useConsoleQuery();
  const text = query.value("search");
  const page = Math.max(1, Number(query.value("page")) || 1);
  // A word in quotes would be read as a comparison.
  const word = encodeURIComponent(text.replaceAll(/["'=]/g, ""));
  const { value: packages, error, reload } = useRequest<Package[]>(`/public/v1/packages?text=${word}&limit=${PAGE}&page=${page}`);
  const turn = (to: number) => query.set({ page: to === 1 ? "" : String(to) });
  return (
    <>
      <h1>Packages</h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search packages" value={text} onChange={(search) => query.set({ search, page: "" })} />
      </div>
      {packages === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : packages.length === 0 ? (
        <p class="quiet">
          {text === "" && page === 1 ? "No packages. Publish one with berth publish or grok publish." : "No package matches. Change the search."}
        </p>
      ) : (
        <Table columns={PACKAGE_COLUMNS} rows={packages} keyOf={({ id }) => id} />
      )}
      {page > 1 || packages?.length === PAGE ? (
        <div class="tools">
          <button type="button" disabled={page === 1} onClick={() => turn(page - 1)}>
            Previous
          </button>
          <button type="button" disabled={packages?.length !== PAGE} onClick={() => turn(page + 1)}>
            Next
          </button>
        </div>
      ) : null}
    </>
  );
}

function packagePath(name: string): string {
  return `/packages/published/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** The versions of a package; **Roll back** publishes an earlier one again, **Unpublish** removes its containers. */
export function PackagePage({ name }: { name: string }) {
  usePageTitle(name);
  const { value, error, reload } = useRequest<PackageVersions>(`${packagePath(name)}/versions`);
  const isOfOthers = error instanceof RequestError && error.status === 403;
  return (
    <>
      <p class="trail">
        <a href={linkTo("packages")}>Packages</a> /
      </p>
      <div class="page-head">
        <h1>{name}</h1>
        {value ? <Unpublish name={name} onDone={reload} /> : null}
      </div>
      {isOfOthers ? (
        <p class="quiet">The author of the package, the author's groups, and administrators see its versions.</p>
      ) : (
        <Failure error={error} onRetry={reload} />
      )}
      {value ? <Versions name={value.name} versions={value.versions} onDone={reload} /> : error ? null : <Loading />}
    </>
  );
}

function Versions({ name, versions, onDone }: PackageVersions & { onDone(): void }) {
  const [selected, setSelected] = useState<PackageVersion>();
  const [isBusy, setBusy] = useState(false);
  const notices = useNotices();
  const rollBack = ({ number, version }: PackageVersion) => {
    setSelected(undefined);
    setBusy(true);
    request(`${packagePath(name)}/rollback`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ to: number }),
    })
      .then(() => notices.done(`${name} is version ${number} (${version}) again.`), notices.failed)
      .finally(() => {
        setBusy(false);
        onDone();
      });
  };
  return (
    <Section title="Versions">
      {versions.length === 0 ? (
        <p class="quiet">No versions yet. berth stores one with each publish.</p>
      ) : (
        <Table
          rows={versions}
          keyOf={({ number }) => String(number)}
          columns={[
            { name: "Number", cell: ({ number }) => number },
            { name: "Version", cell: ({ version }) => version },
            { name: "Published", cell: ({ publishedOn, by }) => <Published at={publishedOn} by={by} /> },
            { name: "Containers", isNumber: true, cell: ({ containers }) => containers },
            { name: "State", cell: (version) => <VersionState version={version} /> },
            {
              name: "Actions",
              isAction: true,
              cell: (version) =>
                mayReturn(version) ? (
                  <button type="button" disabled={isBusy} onClick={() => setSelected(version)}>
                    Roll back…<span class="unseen"> to {version.number}</span>
                  </button>
                ) : null,
            },
          ]}
        />
      )}
      {selected ? (
        <ConfirmDialog
          title={`Roll back ${name} to version ${selected.number}?`}
          verb="Roll back"
          onConfirm={() => rollBack(selected)}
          onClose={() => setSelected(undefined)}
        >
          <p>
            berth publishes version {selected.number} ({selected.version}) again: its images and definitions, with{" "}
            {selected.containers === 1 ? "1 container" : `${selected.containers} containers`}. Connections and credentials stay as they are.
            Containers that run are replaced.
          </p>
          {selected.good === false ? <p class="bad-text">When it was replaced, an image was not ready, or a container had failed.</p> : null}
        </ConfirmDialog>
      ) : null}
    </Section>
  );
}

/** A version without containers restores nothing. The current one may have been unpublished. */
function mayReturn({ replacedOn, containers }: PackageVersion): boolean {
  return replacedOn !== null && containers > 0;
}

function Published({ at, by }: { at: string; by: string | null }) {
  return (
    <>
      <Moment at={at} />
      {by === null ? null : ` by ${by}`}
    </>
  );
}

function VersionState({ version: { replacedOn, containers, good, restores } }: { version: PackageVersion }) {
  const same = restores === null ? null : <small> the same as {restores}</small>;
  if (containers === 0) return <span class="quiet">{replacedOn === null ? "current, unpublished" : "unpublished"}</span>;
  const [look, word] = replacedOn === null ? ["good", "current"] : good ? ["resting", "good"] : ["bad", "failed"];
  return (
    <>
      <span class={`status ${look}`}>{word}</span>
      {same}
    </>
  );
}

/** Shows first which containers go. */
function Unpublish({ name, onDone }: { name: string; onDone(): void }) {
  const [containers, setContainers] = useState<readonly string[]>();
  const notices = useNotices();
  const ask = () =>
    request<{ containers: string[] }>(`${packagePath(name)}?dryRun=true`, { method: "DELETE" }).then((answer) => setContainers(answer.containers));
  const unpublish = () => {
    setContainers(undefined);
    request(packagePath(name), { method: "DELETE" })
      .then(() => notices.done(`${name} is unpublished.`), notices.failed)
      .finally(onDone);
  };
  return (
    <div class="tools">
      <Action act={ask} kind="danger">
        Unpublish…
      </Action>
      {containers ? (
        <ConfirmDialog title={`Unpublish ${name}?`} verb="Unpublish" onConfirm={unpublish} onClose={() => setContainers(undefined)}>
          {containers.length === 0 ? (
            <p>The package has no containers.</p>
          ) : (
            <>
              <p>
                berth stops and removes{" "}
                {containers.length === 1 ? "this container and its image" : `these ${containers.length} containers and their images`}:
              </p>
              <ul class="names">
                {containers.map((one) => (
                  <li key={one}>{one}</li>
                ))}
              </ul>
            </>
          )}
          <p>The package keeps its names, credentials and versions: a rollback or another publish brings its containers back with the same ids.</p>
        </ConfirmDialog>
      ) : null}
    </div>
  );
}
