/** Answers whose body is JSON, or JSON text already. */

const jsonHeaders = { 'content-type': 'application/json; charset=utf-8' }

/** A 2xx answer whose body is JSON text already. */
export function jsonText(text: string, status = 200): Response {
  return new Response(text, { status, headers: jsonHeaders })
}

export function json(body: unknown, status = 200): Response {
  return jsonText(JSON.stringify(body), status)
}
