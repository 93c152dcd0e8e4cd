import { useState } from "preact/hooks";
import { useEntities } from "../live-feed.tsx";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { Search } from "../parts/search.tsx";
import { Status } from "../parts/status.tsx";
import { Table } from "../parts/table.tsx";
import { linkTo } from "../location.ts";

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
      {shown?.length === 0 ? <p class="quiet">{images?.length === 0 ? "No package has been published yet." : "No image is like that."}</p> : null}
    </>
  );
}
