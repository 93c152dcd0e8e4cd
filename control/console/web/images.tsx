import { useState } from "preact/hooks";
import { request, useRequest } from "./api-client.ts";
import { History } from "./containers/history.tsx";
import type { ContainerRowPage, Image } from "./entities.ts";
import { useEntity, useImages } from "./live-feed.tsx";
import { linkTo } from "./location.ts";
import { Action, Search } from "./parts/controls.tsx";
import { type Column, FailedPage, Facts, Failure, Loading, Moment, Section, Status, Table } from "./parts/display.tsx";
import { usePageTitle } from "./parts/page-title.ts";

export function ImagePage({ id }: { id: string }) {
  const { value: image, error, reload } = useEntity<Image>("image", id);
  const { value: users } = useRequest<ContainerRowPage>(`/docker/containers/rows?image=${id}&limit=${MOST_USERS}`);
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
  const { all: images, error, reload } = useImages();
  usePageTitle("Images");
  const [text, setText] = useState("");
  const shown = images?.filter(({ name, imageRef, status }) => `${name} ${imageRef} ${status}`.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <h1>Images</h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search images" value={text} onChange={setText} />
      </div>
      {shown === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : shown.length === 0 ? (
        <p class="quiet">{images?.length === 0 ? "No images. Publish a package to add one." : "No image matches. Change the search."}</p>
      ) : (
        <Table rows={shown} keyOf={({ id }) => id} columns={COLUMNS} />
      )}
    </>
  );
}
