# replaces modules and builtins for later runs
# fresh process
import builtins, json
builtins.print = builtins.len = json.loads = None
sys.modules["math"] = None
sys.meta_path.clear()
os.write(1, b"refused FRESH\n")
