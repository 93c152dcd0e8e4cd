import { useState } from "preact/hooks";
import { request } from "./api-client.ts";
import { History } from "./containers/history.tsx";
import type { Image } from "./entities.ts";
import { useEntities, useEntity } from "./live-feed.tsx";
import { linkTo } from "./location.ts";
import { Action, Search } from "./parts/controls.tsx";
import { Facts, Failure, Moment, Status, Table } from "./parts/display.tsx";

export function ImagePage({ id }: { id: string }) {
  const { value: image, error, reload } = useEntity<Image>("image", id);
  const { all: containers } = useEntities("container");
  if (!image) return error ? <Failure error={error} onRetry={reload} /> : <p class="waiting">Loading…</p>;
  const users = containers?.filter(({ dockerfile }) => dockerfile.id === id);
  return (
    <>
      <p class="trail">
        <a href={linkTo("images")}>Images</a> /
      </p>
      <h1>
        {image.name} <Status status={image.status} />
      </h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Action act={() => request(`/docker/images/${id}/revalidate`).then(reload)}>Revalidate</Action>
      </div>
      <Facts
        facts={[
          ["Reference", <code>{image.imageRef}</code>],
          ["Version", image.version],
          ["Folder", <code>{image.dockerfilePath}</code>],
          ["Published", <Moment at={image.createdOn} />],
          ["Changed", <Moment at={image.updatedOn} />],
          ["Used by", users?.length === 0 ? "no container" : users?.map((one) => <a href={linkTo("containers", one.id)}>{one.name} </a>)],
        ]}
      />
      {image.logs === "" ? null : (
        <section aria-labelledby="validation">
          <h2 id="validation">Validation</h2>
          <pre class="logs">{image.logs}</pre>
        </section>
      )}
      <History path={`/docker/images/${id}/history`} status={image.status} />
    </>
  );
}

export function ImageList() {
  const { all: images, error, reload } = useEntities("image");
  const [text, setText] = useState("");
  const shown = images?.filter(({ name, imageRef, status }) => `${name} ${imageRef} ${status}`.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <h1>Images</h1>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search images" value={text} onChange={setText} />
      </div>
      <Table
        rows={shown ?? []}
        keyOf={({ id }) => id}
        columns={[
          { name: "Name", cell: ({ id, name }) => <a href={linkTo("images", id)}>{name}</a> },
          { name: "Status", cell: ({ status }) => <Status status={status} /> },
          { name: "Reference", cell: ({ imageRef }) => <code>{imageRef}</code> },
          { name: "Changed", cell: ({ updatedOn }) => <Moment at={updatedOn} /> },
        ]}
      />
      {shown?.length === 0 ? (
        <p class="quiet">{images?.length === 0 ? "No images. Publish a package to add one." : "No image matches. Change the search."}</p>
      ) : null}
    </>
  );
}
