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

export function RepositoryPage({ name, user }: { name: string; user: User }) {
  const path = `/docker/registry/images?repository=${encodeURIComponent(name)}`;
  const { value: images, error, again } = useAsked<StoredImage[]>(path);
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
            <th scope="col">Pushed</th>
            <th scope="col">Used by</th>
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
              <td data-label="Pushed">
                {image.pushedOn ? (
                  <>
                    <Moment at={image.pushedOn} /> by {image.pushedBy ?? "somebody"}
                  </>
                ) : (
                  <span class="quiet">not through this berth</span>
                )}
              </td>
              <td data-label="Used by">{image.usedBy.join(", ") || "no container"}</td>
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

/** What it is made of, behind its size. */
function Layers({ image: { size, platform, layers, images } }: { image: StoredImage }) {
  const parts = images.length > 0 ? images : layers;
  return (
    <details>
      <summary>
        {sizeOf(size)} <small>{images.length > 0 ? `${images.length} platforms` : `${platform ?? ""} ${layers.length} layers`}</small>
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
