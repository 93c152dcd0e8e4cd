import { request, useRequest } from "./api-client.ts";
import { History } from "./containers/history.tsx";
import type { ContainerRowPage, Image } from "./entities.ts";
import { useEntity, useImages } from "./live-feed.tsx";
import { linkTo } from "./location.ts";
import { Action } from "./parts/controls.tsx";
import { type Column, FailedPage, Facts, Failure, Loading, Moment, Section, Status } from "./parts/display.tsx";
import { usePageTitle } from "./parts/page-title.ts";
import { PagedTable, pageOf, useAddressState } from "./parts/paged-table.tsx";

export function ImagePage({ id }: { id: string }) {
  const { value: image, error, reload } = useEntity<Image>("image", id);
  const { value: users } = useRequest<ContainerRowPage>(`/docker/containers/rows?image=${encodeURIComponent(id)}&limit=${MOST_USERS}`);
  usePageTitle(image?.name ?? "Image", image?.status);
  if (!image)
    return error ? <FailedPage title="Image" list={{ title: "Images", href: linkTo("images") }} error={error} onRetry={reload} /> : <Loading />;
  return (
    <>
      <p class="trail">
        <a href={linkTo("images")}>Images</a> /
      </p>
      <div class="page-head">
        <h1>
          {image.name} <Status status={image.status} />
        </h1>
        <div class="tools">
          <Action act={() => request(`/docker/images/${id}/revalidate`).then(reload)}>Revalidate</Action>
        </div>
      </div>
      <Failure error={error} onRetry={reload} />
      <Facts
        facts={[
          ["Reference", <code>{image.imageRef}</code>],
          ["Version", image.version],
          ["Folder", <code>{image.dockerfilePath}</code>],
          ["Published", <Moment at={image.createdOn} />],
          ["Changed", <Moment at={image.updatedOn} />],
          ["Used by", users && <ImageUsers users={users} />],
        ]}
      />
      {image.logs === "" ? null : (
        <Section title="Validation">
          <pre class="logs">{image.logs}</pre>
        </Section>
      )}
      <History path={`/docker/images/${id}/history`} status={image.status} />
    </>
  );
}

/** An image has one container by default; many have hundreds. */
const MOST_USERS = 20;

function ImageUsers({ users: { total, rows } }: { users: ContainerRowPage }) {
  if (total === 0) return <>no container</>;
  return (
    <span class="links">
      {rows.map(({ id, name }) => (
        <a key={id} href={linkTo("containers", id)}>
          {name}
        </a>
      ))}
      {total > rows.length ? `and ${total - rows.length} more` : null}
    </span>
  );
}

const COLUMNS: readonly Column<Image>[] = [
  { name: "Name", cell: ({ id, name }) => <a href={linkTo("images", id)}>{name}</a> },
  { name: "Status", cell: ({ status }) => <Status status={status} /> },
  { name: "Reference", cell: ({ imageRef }) => <code>{imageRef}</code> },
  { name: "Changed", cell: ({ updatedOn }) => <Moment at={updatedOn} /> },
];

export function ImageList() {
  const { all, error, reload } = useImages();
  const state = useAddressState();
  usePageTitle("Images");
  const word = state.text.trim().toLowerCase();
  const shown = all?.filter(({ name, imageRef, status }) => `${name} ${imageRef} ${status}`.toLowerCase().includes(word));
  return (
    <>
      <h1>Images</h1>
      <PagedTable
        rows={{ ...pageOf(shown, state), error, reload }}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        empty="No images. Publish a package to add one."
        search="Search images"
      />
    </>
  );
}
