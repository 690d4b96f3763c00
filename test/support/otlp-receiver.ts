/** A receiver of traces over HTTP that keeps what it gets: OTLP in JSON. */
import { expect, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { startTracing, type TracingSettings } from '../../tracing/start.ts'
import { json, type ScriptedServer, startScriptedServer } from './scripted-server.ts'

export interface SeenSpan {
  name: string
  /** Of the process that sent it. */
  service: string
  traceId: string
  spanId: string
  /** Empty for the first of a trace. */
  parentId: string
  kind: number
  attributes: Record<string, unknown>
  links: string[]
  failed: boolean
}

export interface TraceReceiver {
  server: ScriptedServer
  /** What makes a process send its traces here. */
  env: Record<string, string>
  spans(): SeenSpan[]
  of(traceId: string): SeenSpan[]
  /** The only span of that name in the trace, once it has come. */
  span(traceId: string, name: string): Promise<SeenSpan>
}

const Value = z.object({ stringValue: z.string().optional(), intValue: z.coerce.number().optional() })
const Attributes = z.array(z.object({ key: z.string(), value: Value })).default([])
const Export = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              name: z.string(),
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().default(''),
              kind: z.number(),
              attributes: Attributes,
              links: z.array(z.object({ traceId: z.string() })).default([]),
              status: z.object({ code: z.number().optional() }).optional(),
            }),
          ),
        }),
      ),
    }),
  ),
})

const otlpError = 2
export const soon = { timeout: 60_000, interval: 50 }

export async function startTraceReceiver(): Promise<TraceReceiver> {
  const server = await startScriptedServer(json({}))
  onTestFinished(() => server.close())
  const read = new Map<string, SeenSpan[]>()

  function spans(): SeenSpan[] {
    return server.calls.flatMap(({ body, path }) => {
      expect(path).toBe('/v1/traces')
      const known = read.get(body) ?? spansIn(body)
      read.set(body, known)
      return known
    })
  }

  const of = (traceId: string) => spans().filter((span) => span.traceId === traceId)
  return {
    server,
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: server.origin, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' },
    spans,
    of,
    span: (traceId, name) =>
      vi.waitFor(() => {
        const found = of(traceId).filter((span) => span.name === name)
        expect(found, `${name} among ${of(traceId).map((span) => span.name)}`).toHaveLength(1)
        return found[0]!
      }, soon),
  }
}

export interface TracedHere {
  headers?: Record<string, string>
  protocol?: TracingSettings['protocol']
}

/** This process sends its traces to a receiver of the test's own until the test is over. */
export async function tracedHere(settings: TracedHere = {}): Promise<TraceReceiver> {
  const receiver = await startTraceReceiver()
  const { headers = {} } = settings
  const tracing = await startTracing(
    {
      url: `${receiver.server.origin}/v1/traces`,
      protocol: settings.protocol ?? 'http/json',
      headers: Object.entries(headers).map(([name, value]) => ({ name, value: { reveal: () => value } })),
      resource: {},
      sampler: 'parentbased_always_on',
      ratio: 1,
    },
    'perdure-test',
    () => undefined,
  )
  onTestFinished(() => tracing.stop())
  return receiver
}

function spansIn(body: string): SeenSpan[] {
  return Export.parse(JSON.parse(body)).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map(
        ({ name, traceId, spanId, parentSpanId: parentId, kind, attributes, links, status }) => ({
          ...{ name, traceId, spanId, parentId, kind },
          service: String(valuesOf(resource.attributes)['service.name']),
          attributes: valuesOf(attributes),
          links: links.map((link) => link.traceId),
          failed: status?.code === otlpError,
        }),
      ),
    ),
  )
}

function valuesOf(attributes: z.infer<typeof Attributes>): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]))
}
