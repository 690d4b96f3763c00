/** Sends records to a Kafka topic, one JSON message each. The client is loaded with the first record. */

import type { Producer } from '@platformatic/kafka'
import { printJson } from '../../contracts/json.ts'
import { ValueError } from '../errors.ts'
import type { StreamTarget } from './target.ts'

const form = /^kafka:\/\/(?<brokers>[^/?#]*)\/?(?<topic>[^?#]*)(?:\?(?<query>[^#]*))?$/

type TextProducer = Producer<string, string, string, string>

/**
 * `kafka://broker:9092[,broker2:9092]/topic`, or `kafka://broker:9092?topic=topic`. `stream_args`: `brokers` (a list,
 * instead of the ones in the path), `topic`, and `producer`, further options of the client (tls, sasl, timeout …).
 */
export class KafkaStream implements StreamTarget {
  readonly #brokers: string[]
  readonly #topic: string
  readonly #options: object
  #producer: Promise<TextProducer> | undefined

  constructor(path: string, { brokers, topic, producer }: Readonly<Record<string, unknown>> = {}) {
    const parts = form.exec(path)?.groups ?? {}
    this.#brokers = Array.isArray(brokers)
      ? brokers.map(String)
      : (parts.brokers ?? '').split(',').filter(Boolean)
    this.#topic =
      typeof topic === 'string' ? topic : parts.topic || (new URLSearchParams(parts.query).get('topic') ?? '')
    this.#options = typeof producer === 'object' && producer !== null ? producer : {}
    if (this.#brokers.length === 0 || this.#topic === '') {
      throw new ValueError(`unsupported stream path ${path}: a broker and a topic are required`)
    }
  }

  async push(records: unknown[]): Promise<void> {
    this.#producer ??= this.#connect()
    const producer = await this.#producer
    await producer.send({
      messages: records.map((record) => ({ topic: this.#topic, value: printJson(record) })),
    })
  }

  async close(): Promise<void> {
    const producer = this.#producer
    this.#producer = undefined
    if (producer) await (await producer).close()
  }

  async #connect(): Promise<TextProducer> {
    const { Producer, stringSerializers } = await import('@platformatic/kafka')
    return new Producer({
      clientId: 'perdure-model-server',
      bootstrapBrokers: this.#brokers,
      serializers: stringSerializers,
      // Few and quick: a dead broker costs records, which are counted, and must not hold up a stop.
      retries: 2,
      retryDelay: 250,
      connectTimeout: 3000,
      timeout: 5000,
      ...this.#options,
    })
  }
}
