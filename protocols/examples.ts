/** Builds a validation's requests once, before the attempts: inline ones, then examples of a split. Also the warm-up artifact. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { ServiceError } from '../contracts/errors.ts'
import type { ValidationRequest } from '../contracts/validation.ts'
import { type ProbeRequest, requestSchemas } from '../contracts/validation-requests.ts'
import type { ProbeTarget } from './probe.ts'
import { probes } from './probes.ts'
import type { ReadyGolden } from './requests.ts'

/** Name of the artifact beside a blessing. Example data lies in it unencrypted. */
export const warmupFile = 'warmup-requests.jsonl'

type Asked = Pick<ValidationRequest, 'servingSpec' | 'requests' | 'requestSpec' | 'examples'>

/** All sample requests in the order they are sent. Throws `CONFIG_INVALID` naming file and line. */
export async function requestsOf(spec: Asked): Promise<ProbeRequest[]> {
  const schema = requestSchemas[spec.servingSpec.binary.kind]
  const inline = spec.requests.map((request) => schema.parse(request))
  if (spec.requestSpec === undefined || spec.examples === undefined) return inline
  const { splits } = spec.examples
  const split = spec.requestSpec.splitName ?? Object.keys(splits)[0] ?? ''
  const file = splits[split]
  const field = `examples.splits.${split}`
  if (file === undefined) throw invalid('requestSpec.splitName', 'is no split of the examples')
  const examples: ProbeRequest[] = []
  for (const { line, number } of await firstLines(file, spec.requestSpec.numExamples, field)) {
    const parsed = schema.safeParse(json(line, `${field}: line ${number}`))
    if (!parsed.success)
      throw invalid(field, `line ${number} does not fit: ${parsed.error.issues[0]?.message}`)
    examples.push(parsed.data)
  }
  if (examples.length === 0) throw invalid(field, 'holds no example')
  return [...inline, ...examples]
}

/** The goldens, their requests read by the schema of the binary's kind. The spec has passed `parseValidation`. */
export function goldensOf(spec: Pick<ValidationRequest, 'servingSpec' | 'goldens'>): ReadyGolden[] {
  const schema = requestSchemas[spec.servingSpec.binary.kind]
  return spec.goldens.map((golden) => ({ ...golden, request: schema.parse(golden.request) }))
}

/** One line per request: `{"method","path","headers","body"}`, to be sent to a fresh server before traffic. */
export function warmupOf(
  target: Pick<ProbeTarget, 'modelName' | 'binary'>,
  requests: readonly ProbeRequest[],
): string {
  const probe = probes[target.binary.kind]
  return requests
    .map((request, index) => {
      const { method, path, headers, body } = probe.call(
        { ...target, endpoints: {} },
        request,
        request.id ?? `warmup-${index + 1}`,
      )
      return `${JSON.stringify({ method, path, headers, body: body === undefined ? null : JSON.parse(body) })}\n`
    })
    .join('')
}

async function firstLines(
  file: string,
  count: number,
  field: string,
): Promise<{ line: string; number: number }[]> {
  const found: { line: string; number: number }[] = []
  const stream = createReadStream(file)
  try {
    let number = 0
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++
      if (line.trim() !== '') found.push({ line, number })
      if (found.length >= count) break
    }
    return found
  } catch (cause) {
    throw new ServiceError('CONFIG_INVALID', `${field}: cannot be read`, { cause })
  } finally {
    stream.destroy()
  }
}

function json(line: string, where: string): unknown {
  try {
    return JSON.parse(line)
  } catch (cause) {
    throw new ServiceError('CONFIG_INVALID', `${where} is not JSON`, { cause })
  }
}

function invalid(field: string, message: string): ServiceError {
  return new ServiceError('CONFIG_INVALID', `${field}: ${message}`)
}
