/** Server-sent events out of text that arrives in pieces (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import { createParser, type EventSourceMessage } from 'eventsource-parser'

export interface StreamEvent {
  /** `message` if the server names none. */
  event: string
  data: string
  id: string | undefined
}

export async function* readEvents(text: AsyncIterable<string>): AsyncGenerator<StreamEvent> {
  const ready: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (event) => ready.push(event) })
  for await (const piece of text) {
    parser.feed(piece)
    for (const { event = 'message', data, id } of ready.splice(0)) yield { event, data, id }
  }
}
