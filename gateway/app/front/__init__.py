"""Between strangers' connections and the HTTP interface: limits, so that nothing that calls can delay an alert.

``limits`` are the numbers, ``brake`` counts refusals by source, ``connections`` holds what is open and closes what is not worth
its descriptor, ``costs`` measures what requests take of the loop, ``rights`` judges by what right they come, ``protocol`` reads
them within the limits, ``serving`` is the stage that accepts.
"""
