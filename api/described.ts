/** How routes describe their requests and answers in the OpenAPI document. Checks nothing by itself. */
import type { ZodType } from 'zod'
import { InheritedError, Problem } from '../contracts/http.ts'

export function jsonContent(schema: ZodType) {
  return { 'application/json': { schema } }
}

/** A request body of a given shape; `required: false` where inherited clients may leave it out. */
export function jsonRequest(schema: ZodType, required = true) {
  return { body: { content: jsonContent(schema), required } }
}

const reasons: Readonly<Record<number, string>> = {
  400: 'Something in the request is wrong, or the platform refused it',
  403: 'Refused in this state',
  404: 'Unknown',
  409: 'Conflict with the present state',
  410: 'Gone',
  413: 'The body is too large',
  422: 'The Idempotency-Key was used with another request, or a header is wrong',
  429: 'The queue is full; see Retry-After',
  500: 'The prediction failed, or this service did',
  501: 'Not supported by the platform',
  502: 'The platform failed',
  503: 'Not available now; see Retry-After',
  504: 'The time ran out',
}

export function ok(schema: ZodType, description: string) {
  return { content: jsonContent(schema), description }
}

/** The error answers of an inherited route. */
export function inheritedErrors(...statuses: number[]) {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      { content: jsonContent(InheritedError), description: reasons[status] ?? 'Error' },
    ]),
  )
}

/** The error answers of a modern route. */
export function problems(...statuses: number[]) {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        content: { 'application/problem+json': { schema: Problem } },
        description: reasons[status] ?? 'Error',
      },
    ]),
  )
}
