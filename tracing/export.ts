/** Sends the spans of this process to an OTLP/HTTP receiver. Loaded only where one is set; refuses to read the environment. */
import { randomBytes } from 'node:crypto'
import { context, type DiagLogger, DiagLogLevel, diag } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  RandomIdGenerator,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import { recordSpans } from '../tracing.ts'

/** Where spans go and which; in OpenTelemetry's own words. */
export interface TracingSettings {
  /** Whole address, `http://collector:4318/v1/traces`. */
  url: string
  protocol: 'http/protobuf' | 'http/json'
  headers: readonly { name: string; value: { reveal(): string } }[]
  /** Attributes of this process; `service.name` among them if it is set. */
  resource: Readonly<Record<string, string>>
  sampler: SamplerWord
  /** Part of all traces that `traceidratio` keeps, 0 to 1. */
  ratio: number
}

type RootSampler = 'always_on' | 'always_off' | 'traceidratio'
export type SamplerWord = RootSampler | `parentbased_${RootSampler}`

export interface Export {
  /** Sends what is held, within 3 s, and records nothing more. */
  stop(): Promise<void>
}

/** A burst of predictions makes thousands of spans a second; beyond this, spans are dropped. */
const heldSpans = 16_384
const batchSpans = 2_048
const mostLinks = 200
const everyMs = 1_000
const sendWithinMs = 5_000
/** A receiver that is away must not hold up the end of a process. */
const stopWithinMs = 3_000
const complainEveryMs = 60_000

/** `service` is the name of this process unless the settings have one. */
export async function startExport(
  settings: TracingSettings,
  service: string,
  warn: (text: string) => void,
): Promise<Export> {
  const { OTLPTraceExporter } =
    settings.protocol === 'http/json'
      ? await import('@opentelemetry/exporter-trace-otlp-http')
      : await import('@opentelemetry/exporter-trace-otlp-proto')
  const exporter = new OTLPTraceExporter({
    url: settings.url,
    headers: Object.fromEntries(settings.headers.map(({ name, value }) => [name, value.reveal()])),
    timeoutMillis: sendWithinMs,
  })
  const ids = new ChosenIds()
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': service,
      'service.instance.id': randomBytes(8).toString('hex'),
      ...settings.resource,
    }),
    sampler: samplerOf(settings),
    idGenerator: ids,
    // A flight is linked with as many traces as it has members.
    spanLimits: { linkCountLimit: mostLinks },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: heldSpans,
        maxExportBatchSize: batchSpans,
        scheduledDelayMillis: everyMs,
        exportTimeoutMillis: sendWithinMs,
      }),
    ],
  })
  diag.setLogger(complaints(warn), DiagLogLevel.WARN)
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  recordSpans({ tracer: provider.getTracer('perdure'), nextSpanId: (id) => ids.choose(id) })
  return {
    async stop() {
      recordSpans(undefined)
      const { promise: late, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, stopWithinMs)
      await Promise.race([provider.shutdown().catch(() => undefined), late])
      clearTimeout(timer)
      context.disable()
      diag.disable()
    },
  }
}

class ChosenIds extends RandomIdGenerator {
  #next: string | undefined

  choose(id: string): void {
    this.#next = id
  }

  override generateSpanId = (): string => {
    const chosen = this.#next
    this.#next = undefined
    return chosen ?? randomBytes(8).toString('hex')
  }
}

function samplerOf({ sampler, ratio }: TracingSettings): Sampler {
  const [, based, word = ''] = /^(parentbased_)?(.*)$/.exec(sampler) ?? []
  const root =
    word === 'always_off'
      ? new AlwaysOffSampler()
      : word === 'traceidratio'
        ? new TraceIdRatioBasedSampler(ratio)
        : new AlwaysOnSampler()
  return based === undefined ? root : new ParentBasedSampler({ root })
}

/** A receiver that is away is told once a minute, without its address; what cannot be sent is lost. */
function complaints(warn: (text: string) => void): DiagLogger {
  let lastMs = Number.NEGATIVE_INFINITY
  const complain = () => {
    if (performance.now() - lastMs < complainEveryMs) return
    lastMs = performance.now()
    warn('spans could not be sent to the receiver of traces, or too many came at once: some are lost')
  }
  const ignore = () => undefined
  return { error: complain, warn: complain, info: ignore, debug: ignore, verbose: ignore }
}
