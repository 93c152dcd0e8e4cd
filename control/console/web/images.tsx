import { ask } from "./api-client.ts";
import { TimeLine } from "./containers/history.tsx";
import type { Image } from "./entities.ts";
import { useEntities, useEntity } from "./live-feed.tsx";
import { Action } from "./parts/controls.tsx";
import { Facts } from "./parts/display.tsx";
import { Failure } from "./parts/failure.tsx";
import { Moment } from "./parts/moment.tsx";
import { Status } from "./parts/status.tsx";
import { linkTo } from "./location.ts";

export function ImagePage({ id }: { id: string }) {
  const { value: image, error, again } = useEntity<Image>("image", id);
  const { all: containers } = useEntities("container");
  if (!image) return error ? <Failure error={error} onRetry={again} /> : <p class="waiting">Asking…</p>;
  const users = containers?.filter(({ dockerfile }) => dockerfile.id === id);
  return (
    <>
      <p class="trail">
        <a href={linkTo("images")}>Images</a> /
      </p>
      <h1>
        {image.name} <Status status={image.status} />
      </h1>
      <Failure error={error} onRetry={again} />
      <div class="tools">
        <Action act={() => ask(`/docker/images/${id}/revalidate`).then(again)}>Revalidate</Action>
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
        <section aria-labelledby="said">
          <h2 id="said">What was found</h2>
          <pre class="logs">{image.logs}</pre>
        </section>
      )}
      <TimeLine path={`/docker/images/${id}/history`} status={image.status} />
    </>
  );
}
