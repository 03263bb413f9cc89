// Shows the OpenAPI description of the interface, from this server alone.

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

function resolved(schema, all) {
  return schema.$ref ? all[schema.$ref.split("/").pop()] : schema;
}

function described(schema, all) {
  const known = resolved(schema, all);
  if (known.anyOf) return known.anyOf.map((each) => described(each, all)).join(" or ");
  if (known.enum) return known.enum.map((each) => JSON.stringify(each)).join(", ");
  const name = schema.$ref ? schema.$ref.split("/").pop() : (known.format ?? known.type ?? "anything");
  if (known.type === "array") return `list of ${described(known.items ?? {}, all)}`;
  const limits = ["minimum", "maximum", "minItems", "maxItems", "pattern"]
    .filter((each) => known[each] !== undefined).map((each) => `${each} ${known[each]}`);
  return [name, ...limits].join(", ");
}

function fields(schema, all, parent) {
  const known = resolved(schema, all);
  if (known.type === "array") return fields(known.items, all, parent);
  if (!known.properties) return element("p", described(schema, all), parent);
  if (known.description) element("p", known.description.split("\n")[0], parent);
  const list = element("dl", "", parent);
  for (const [name, each] of Object.entries(known.properties)) {
    element("dt", name, list);
    element("dd", described(each, all), list);
  }
  return list;
}

const answer = await fetch("/api/openapi.json");
const description = await answer.json();
const all = { ...description.components?.schemas };
const parent = document.querySelector("#operations");
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const section = element("section", "", parent);
    element("h2", `${method.toUpperCase()} ${path}`, section);
    element("p", operation.description ?? operation.summary, section);
    if (operation.parameters) {
      element("h3", "Parameters", section);
      const list = element("dl", "", section);
      for (const each of operation.parameters) {
        element("dt", each.name, list);
        element("dd", described(each.schema, all), list);
      }
    }
    for (const [type, each] of Object.entries(operation.requestBody?.content ?? {})) {
      element("h3", `Body, ${type}`, section);
      fields(each.schema, { ...all, ...each.schema.$defs }, section);
    }
    const ok = operation.responses["200"]?.content?.["application/json"];
    if (ok) {
      element("h3", "Answer", section);
      fields(ok.schema, all, section);
    }
  }
}
const types = element("section", "", parent);
element("h2", "Parts of answers", types);
for (const [name, schema] of Object.entries(all)) {
  if (!schema.properties || /ValidationError/.test(name)) continue;
  element("h3", name, types);
  fields(schema, all, types);
}
for (const each of document.querySelectorAll(".here")) each.textContent = location.origin;
