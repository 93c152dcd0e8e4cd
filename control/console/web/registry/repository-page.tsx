import { ask } from "../ask.ts";
import type { StoredImage, User } from "../entities.ts";
import { Action } from "../parts/action.tsx";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { sizeOf } from "../parts/size.ts";
import { linkTo } from "../place.ts";
import { useAsked } from "../use-asked.ts";

/** `sha256:` and so many digits tell an image from another. */
const SHOWN_DIGEST = "sha256:".length + 12;

export function RepositoryPage({ name, user, withContainers }: { name: string; user: User; withContainers: boolean }) {
  const path = `/docker/registry/images?repository=${encodeURIComponent(name)}`;
  const { value: images, error, again } = useAsked<StoredImage[]>(path);
  const withPushes = images?.some(({ pushedOn }) => pushedOn !== undefined) ?? false;
  const remove = (digest: string) => ask(`${path}&digest=${digest}`, { method: "DELETE" }).then(again);
  return (
    <>
      <p class="trail">
        <a href={linkTo("registry")}>Registry</a> /
      </p>
      <h1>{name}</h1>
      <Failure error={error} onRetry={again} />
      <table>
        <thead>
          <tr>
            <th scope="col">Tag</th>
            <th scope="col">Digest</th>
            <th scope="col">Size</th>
            {withPushes ? <th scope="col">Pushed</th> : null}
            {withContainers ? <th scope="col">Used by</th> : null}
            <th scope="col">
              <span class="unseen">Do</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {images?.map((image) => (
            <tr key={image.tag}>
              <td data-label="Tag">{image.tag}</td>
              <td data-label="Digest">
                <code title={image.digest}>{image.digest.slice(0, SHOWN_DIGEST)}</code>
              </td>
              <td data-label="Size">
                <Layers image={image} />
              </td>
              {withPushes ? (
                <td data-label="Pushed">
                  <Push image={image} />
                </td>
              ) : null}
              {withContainers ? <td data-label="Used by">{image.usedBy.join(", ") || "no container"}</td> : null}
              <td class="actions">
                {user.admin ? (
                  <Action act={() => remove(image.digest)} confirm={`Delete ${name}:${image.tag}, and every other tag of ${image.digest}?`}>
                    Delete<span class="unseen"> {image.tag}</span>
                  </Action>
                ) : null}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {images?.length === 0 ? <p class="quiet">It has no tags.</p> : null}
    </>
  );
}

/** As far as this berth saw it: who pushed it is nowhere else. */
function Push({ image: { pushedOn, pushedBy } }: { image: StoredImage }) {
  if (!pushedOn) return <span class="quiet">not seen since berth started</span>;
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
