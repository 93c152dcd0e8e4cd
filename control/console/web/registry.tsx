import { useState } from "preact/hooks";
import { request, RequestError, useRequest } from "./api-client.ts";
import type { Repository, TaggedImage, User } from "./entities.ts";
import { linkTo } from "./location.ts";
import { Search } from "./parts/controls.tsx";
import { ConfirmDialog } from "./parts/dialog.tsx";
import { type Column, Failure, Loading, Moment, sizeOf, Table } from "./parts/display.tsx";
import { useNotices } from "./parts/notices.tsx";

/** `sha256:` and enough digits to distinguish images. */
const SHOWN_DIGEST = "sha256:".length + 12;

const COLUMNS: readonly Column<TaggedImage>[] = [
  { name: "Tag", cell: ({ tag }) => tag },
  { name: "Digest", cell: ({ digest }) => <code title={digest}>{digest.slice(0, SHOWN_DIGEST)}</code> },
  { name: "Size", cell: (image) => <Layers image={image} /> },
  { name: "Pushed", cell: (image) => <TagPush image={image} /> },
];
const USED: Column<TaggedImage> = { name: "Used by", cell: ({ usedBy }) => usedBy.join(", ") || "no container" };

export function RepositoryPage({ name, user, withContainers }: { name: string; user: User; withContainers: boolean }) {
  const path = `/docker/registry/images?repository=${encodeURIComponent(name)}`;
  const { value: images, error, reload } = useRequest<TaggedImage[]>(path);
  const [selected, setSelected] = useState<TaggedImage>();
  const notices = useNotices();
  const remove = ({ digest }: TaggedImage) => {
    setSelected(undefined);
    request(`${path}&digest=${digest}`, { method: "DELETE" }).then(reload, notices.failed);
  };
  const deletes: Column<TaggedImage> = {
    name: "Actions",
    isAction: true,
    cell: (image) =>
      user.admin ? (
        <button type="button" onClick={() => setSelected(image)}>
          Delete…<span class="unseen"> {image.tag}</span>
        </button>
      ) : null,
  };
  return (
    <>
      <p class="trail">
        <a href={linkTo("registry")}>Registry</a> /
      </p>
      <h1>{name}</h1>
      <Failure error={error} onRetry={reload} />
      {images === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : images.length === 0 ? (
        <p class="quiet">No tags. Push an image to add one.</p>
      ) : (
        <Table columns={[...COLUMNS, ...(withContainers ? [USED] : []), deletes]} rows={images} keyOf={({ tag, digest }) => tag ?? digest} />
      )}
      {selected ? (
        <ConfirmDialog
          title={`Delete ${name}:${selected.tag}?`}
          verb="Delete"
          onConfirm={() => remove(selected)}
          onClose={() => setSelected(undefined)}
        >
          <p>
            berth deletes the image <code>{selected.digest.slice(0, SHOWN_DIGEST)}</code> with all its tags. Garbage collection then frees its disk
            space.
          </p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}

/** Known for pushes through this berth only: a registry records neither. */
function TagPush({ image: { pushedOn, pushedBy } }: { image: TaggedImage }) {
  if (!pushedOn) return <span class="quiet">unknown</span>;
  return (
    <>
      <Moment at={pushedOn} />
      {pushedBy ? ` by ${pushedBy}` : null}
    </>
  );
}

/** The layers or platforms of an image. */
function Layers({ image: { size, platform, layers, images } }: { image: TaggedImage }) {
  const manifests = images.length > 0 ? images : layers;
  return (
    <details>
      <summary>
        {sizeOf(size)}{" "}
        <small>
          {images.length > 0
            ? images.length === 1
              ? "1 platform"
              : `${images.length} platforms`
            : `${platform ?? ""} ${layers.length === 1 ? "1 layer" : `${layers.length} layers`}`}
        </small>
      </summary>
      <ol class="layers">
        {manifests.map((part) => (
          <li key={part.digest}>
            <code title={part.digest}>{part.digest.slice(0, SHOWN_DIGEST)}</code> {sizeOf(part.size)} {"platform" in part ? part.platform : null}
          </li>
        ))}
      </ol>
    </details>
  );
}

const REPOSITORY_NAME: Column<Repository> = { name: "Repository", cell: ({ name }) => <a href={linkTo("registry", name)}>{name}</a> };
const REPOSITORY_USERS: Column<Repository> = {
  name: "Used by",
  cell: ({ containers }) => (containers === 1 ? "1 container" : `${containers} containers`),
};

export function RepositoryList({ withContainers }: { withContainers: boolean }) {
  const { value: repositories, error, reload } = useRequest<Repository[]>("/docker/registry/repositories");
  const [text, setText] = useState("");
  const shown = repositories?.filter(({ name }) => name.includes(text.toLowerCase()));
  // No registry is configured.
  if (error instanceof RequestError && error.status === 404)
    return (
      <>
        <h1>Registry</h1>
        <p class="quiet">{error.message}</p>
      </>
    );
  return (
    <>
      <h1>Registry</h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search repositories" value={text} onChange={setText} />
      </div>
      {shown === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : shown.length === 0 ? (
        <p class="quiet">{repositories?.length === 0 ? "No repositories. Push an image to add one." : "No repository matches. Change the search."}</p>
      ) : (
        <Table columns={withContainers ? [REPOSITORY_NAME, REPOSITORY_USERS] : [REPOSITORY_NAME]} rows={shown} keyOf={({ name }) => name} />
      )}
    </>
  );
}
