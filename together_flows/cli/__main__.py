"""`python -m together_flows.cli`."""

from together_flows.cli import main

if __name__ == "__main__":
    main()
