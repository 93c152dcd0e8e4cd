import { ask } from "./api-client.ts";
import type { StoredImage, User } from "./entities.ts";
import { Action } from "./parts/controls.tsx";
import { Failure } from "./parts/failure.tsx";
import { Moment } from "./parts/moment.tsx";
import { sizeOf } from "./parts/size.ts";
import { type Column, Table } from "./parts/table.tsx";
import { linkTo } from "./location.ts";
import { useAsked } from "./use-asked.ts";

/** `sha256:` and so many digits tell an image from another. */
const SHOWN_DIGEST = "sha256:".length + 12;

const COLUMNS: readonly Column<StoredImage>[] = [
  { name: "Tag", cell: ({ tag }) => tag },
  { name: "Digest", cell: ({ digest }) => <code title={digest}>{digest.slice(0, SHOWN_DIGEST)}</code> },
  { name: "Size", cell: (image) => <Layers image={image} /> },
  { name: "Pushed", cell: (image) => <Push image={image} /> },
];
const USED: Column<StoredImage> = { name: "Used by", cell: ({ usedBy }) => usedBy.join(", ") || "no container" };

export function RepositoryPage({ name, user, withContainers }: { name: string; user: User; withContainers: boolean }) {
  const path = `/docker/registry/images?repository=${encodeURIComponent(name)}`;
  const { value: images, error, again } = useAsked<StoredImage[]>(path);
  const remove = (digest: string) => ask(`${path}&digest=${digest}`, { method: "DELETE" }).then(again);
  const deletes: Column<StoredImage> = {
    name: "Do",
    does: true,
    cell: ({ tag, digest }) =>
      user.admin ? (
        <Action act={() => remove(digest)} confirm={`Delete ${name}:${tag}, and every other tag of ${digest}?`}>
          Delete<span class="unseen"> {tag}</span>
        </Action>
      ) : null,
  };
  return (
    <>
      <p class="trail">
        <a href={linkTo("registry")}>Registry</a> /
      </p>
      <h1>{name}</h1>
      <Failure error={error} onRetry={again} />
      <Table columns={[...COLUMNS, ...(withContainers ? [USED] : []), deletes]} rows={images ?? []} keyOf={({ tag }) => tag} />
      {images?.length === 0 ? <p class="quiet">It has no tags.</p> : null}
    </>
  );
}

/** As far as it is known: a registry keeps neither. */
function Push({ image: { pushedOn, pushedBy } }: { image: StoredImage }) {
  if (!pushedOn) return <span class="quiet">not through this berth, or too long ago</span>;
  return (
    <>
      <Moment at={pushedOn} />
      {pushedBy ? ` by ${pushedBy}` : null}
    </>
  );
}

/** What it is made of, behind its size. */
function Layers({ image: { size, platform, layers, images } }: { image: StoredImage }) {
  const parts = images.length > 0 ? images : layers;
  return (
    <details>
      <summary>
        {sizeOf(size)}{" "}
        <small>
          {images.length > 0 ? `${images.length} platforms` : `${platform ?? ""} ${layers.length === 1 ? "1 layer" : `${layers.length} layers`}`}
        </small>
      </summary>
      <ol class="layers">
        {parts.map((part) => (
          <li key={part.digest}>
            <code title={part.digest}>{part.digest.slice(0, SHOWN_DIGEST)}</code> {sizeOf(part.size)} {"platform" in part ? part.platform : null}
          </li>
        ))}
      </ol>
    </details>
  );
}
