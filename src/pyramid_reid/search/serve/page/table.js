// A case as a table: comma-separated values as RFC 4180 says.

const BRANCHES = ["ori", "h1", "h2", "h3"];

export function cell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  // a spreadsheet would compute what begins so
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// rows: {hit, queries, weights}, each hit with what it was found by; marks: by id
export function table(rows, marks) {
  const further = [...new Set(rows.flatMap(({ hit }) => Object.keys(hit.columns)))];
  const head = [
    "mark", "rank", "id", "distance", ...BRANCHES, "probability", "camera", "time", "track", "path",
    ...further, "queries", ...BRANCHES.map((branch) => `w_${branch}`),
  ];
  const body = rows.map(({ hit, queries, weights }) => [
    marks.get(hit.id) ?? "", hit.rank, hit.id, hit.distance,
    ...BRANCHES.map((branch) => hit.distances[branch]), hit.probability, hit.camera, hit.time,
    hit.track, hit.path, ...further.map((name) => hit.columns[name]), queries.join(" "),
    ...BRANCHES.map((branch) => weights[branch]),
  ]);
  // programs for spreadsheets take a file for UTF-8 where this mark says so
  return "\ufeff" + [head, ...body].map((row) => row.map(cell).join(",") + "\r\n").join("");
}
