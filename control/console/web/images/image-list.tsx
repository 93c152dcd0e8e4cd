import { useState } from "preact/hooks";
import { useEntities } from "../live.tsx";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { Search } from "../parts/search.tsx";
import { Status } from "../parts/status.tsx";
import { linkTo } from "../place.ts";

export function ImageList() {
  const { all: images, error, again } = useEntities("image");
  const [text, setText] = useState("");
  const shown = images?.filter(({ name, imageRef, status }) => `${name} ${imageRef} ${status}`.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <h1>Images</h1>
      <Failure error={error} onRetry={again} />
      <div class="tools">
        <Search label="Search images" value={text} onChange={setText} />
      </div>
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Status</th>
            <th scope="col">Reference</th>
            <th scope="col">Changed</th>
          </tr>
        </thead>
        <tbody>
          {shown?.map(({ id, name, status, imageRef, updatedOn }) => (
            <tr key={id}>
              <td data-label="Name">
                <a href={linkTo("images", id)}>{name}</a>
              </td>
              <td data-label="Status">
                <Status status={status} />
              </td>
              <td data-label="Reference">
                <code>{imageRef}</code>
              </td>
              <td data-label="Changed">
                <Moment at={updatedOn} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {shown?.length === 0 ? <p class="quiet">{images?.length === 0 ? "No package has been published yet." : "No image is like that."}</p> : null}
    </>
  );
}
